"""Label the regions of a raster: pixels of one value that touch along their sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.integer]

#: Label of pixels that belong to no region.
NO_REGION = -1


def label_regions(values: Ints, valid: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Label the regions of some rows by their first pixel, row by row.

    Runs of pixels along a row are joined with those that touch them in the next row: there are far
    fewer runs than pixels.

    Args:
        values: Value of each pixel, (h, w).
        valid: Pixels that belong to a region, (h, w).

    Returns:
        The number of regions, and the label of each pixel, (h, w) int32, ``NO_REGION`` where not
        valid.
    """
    starts = np.ones(values.shape, dtype=bool)  # first pixel of each run
    starts[:, 1:] = (values[:, 1:] != values[:, :-1]) | (valid[:, 1:] != valid[:, :-1])
    run = (np.cumsum(starts, dtype=np.int32) - 1).reshape(values.shape)
    touch = (values[1:] == values[:-1]) & valid[1:] & valid[:-1]
    touch &= starts[1:] | starts[:-1]  # once per pair of runs
    kept = valid[starts]
    number = np.cumsum(kept, dtype=np.int32) - 1  # of each valid run
    count, group = components(number[run[:-1][touch]], number[run[1:][touch]], int(kept.sum()))
    label = np.full(len(kept), NO_REGION, dtype=np.int32)
    label[kept] = _by_first(group, count)
    return count, label[run]


def components(first: Ints, second: Ints, count: int) -> tuple[int, Ints]:
    """Return the number of connected groups, and the group of each of ``count`` nodes.

    Args:
        first: One end of each connection, (E,).
        second: The other end, (E,).
        count: Number of nodes.
    """
    # Imported here because every command would pay for it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if count == 0:
        return 0, np.zeros(0, dtype=np.int32)
    ones = np.ones(len(first), dtype=bool)
    graph = coo_array((ones, (first, second)), shape=(count, count))
    groups, group_of = connected_components(graph, directed=False)
    return int(groups), group_of


def _by_first(group: Ints, count: int) -> Ints:
    """Number groups by their first member."""
    first = np.empty(count, dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]  # of several members the first stays
    number = np.empty(count, dtype=np.int32)
    number[np.argsort(first, kind="stable")] = np.arange(count)
    return number[group]
