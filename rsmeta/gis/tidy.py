"""Tidy class maps of any size: a majority filter, and a sieve of small regions.

Both work through a store of class indices on the disk, some rows at a time, and what they give does
not depend on how many rows that are. Pixels without class stay so, and none is made.

What it costs: the majority filter holds some rows. The sieve holds the regions, not the pixels,
while it is decided which are joined. Maps of networks have few; noise has many, and is better
filtered first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Pixels that are worked on at once.
STRIP_PX = 4_000_000


class ClassStore:
    """Class indices of a whole map in a file, int16, read and written some rows at a time.

    Args:
        path: The file; made anew.
        shape: Rows and columns.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path = path
        self.height_px, self.width_px = shape
        with path.open("wb") as file:
            file.truncate(2 * self.height_px * self.width_px)

    def strips(self, strip_px: int = STRIP_PX) -> Iterator[tuple[int, int]]:
        """Yield first row and end of strips of about so many pixels, from the top."""
        rows = max(1, strip_px // self.width_px)
        for top in range(0, self.height_px, rows):
            yield top, min(top + rows, self.height_px)

    def read(self, top: int, end: int) -> np.ndarray:
        """Return rows, (end - top, width) int16; rows beyond the map are -1."""
        first, last = max(top, 0), min(end, self.height_px)
        rows = np.full((end - top, self.width_px), -1, dtype=np.int16)
        count = (last - first) * self.width_px
        found = np.fromfile(self.path, np.int16, count, offset=2 * first * self.width_px)
        rows[first - top : last - top] = found.reshape(-1, self.width_px)
        return rows

    def write(self, top: int, rows: np.ndarray) -> None:
        """Write rows, (h, width) int16."""
        with self.path.open("r+b") as file:
            file.seek(2 * top * self.width_px)
            file.write(np.ascontiguousarray(rows, dtype=np.int16).tobytes())


def majority(indices: np.ndarray, side_px: int) -> np.ndarray:
    """Give each pixel the class that most pixels around it have; of equals its own, or the first.

    Args:
        indices: Class indices, (h, w) int16, -1 where there is no class.
        side_px: Side of the square around a pixel, odd.

    Returns:
        (h, w) int16. Within ``side_px // 2`` of an edge it knows only what is given.
    """
    best = np.zeros(indices.shape, dtype=np.int32)
    result = indices.copy()
    own = np.zeros(indices.shape, dtype=np.int32)
    classes = [int(k) for k in np.unique(indices) if k >= 0]
    for k in classes:
        counts = _box_sums(indices == k, side_px)
        is_own = indices == k
        own[is_own] = counts[is_own]
        more = counts > best
        result[more] = k
        np.maximum(best, counts, out=best)
    keeps = (own == best) | (indices < 0)
    result[keeps] = indices[keeps]
    return result


def _box_sums(mask: np.ndarray, side_px: int) -> np.ndarray:
    """Count true pixels in the square around each pixel, (h, w) int32."""
    half = side_px // 2
    sums = np.pad(mask.astype(np.int32), ((half + 1, half), (half + 1, half)))
    np.cumsum(sums, axis=0, out=sums)
    np.cumsum(sums, axis=1, out=sums)
    n = side_px
    counts: np.ndarray = sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]
    return counts


def sieve(store: ClassStore, least_px: int, *, strip_px: int = STRIP_PX) -> int:
    """Join regions of less than ``least_px`` pixels to their largest neighbour.

    A region is a set of pixels of one class that touch by their sides. The joined region counts as
    one from then on, until each region is large enough or has no neighbour. Of neighbours of one
    size the one that begins first, row by row, is taken.

    Args:
        store: The map; it is changed.
        least_px: Pixels that a region must have.
        strip_px: Pixels that are worked on at once; the result does not depend on it.

    Returns:
        How many regions were joined to another.
    """
    regions = _survey(store, strip_px)
    classes, joined = _joined(regions, least_px)
    if not joined:
        return 0
    first = 0
    for top, end in store.strips(strip_px):
        rows = store.read(top, end)
        labels, found = _label(rows)
        known = labels >= 0
        rows[known] = classes[first + labels[known]]
        store.write(top, rows)
        first += found
    return joined


@dataclass(frozen=True)
class _Regions:
    """Parts of regions, as strips cut them, numbered from the top.

    Attributes:
        classes: Class index of each part, (N,) int16.
        sizes: Its pixels, (N,) int64.
        touching: Pairs of parts that touch, of one class across a cut or of different classes,
            (E, 2) int64.
    """

    classes: np.ndarray
    sizes: np.ndarray
    touching: np.ndarray


def _survey(store: ClassStore, strip_px: int) -> _Regions:
    """Number all parts of regions, and note which of them touch."""
    classes, sizes, pairs = [], [], []
    first, last_row = 0, None
    for top, end in store.strips(strip_px):
        rows = store.read(top, end)
        labels, found = _label(rows)
        known = labels >= 0
        of_class = np.zeros(found, dtype=np.int16)
        of_class[labels[known]] = rows[known]
        classes.append(of_class)
        sizes.append(np.bincount(labels[known], minlength=found))
        numbers = np.where(known, labels.astype(np.int64) + first, -1)
        pairs += [_pairs(numbers[:, :-1], numbers[:, 1:]), _pairs(numbers[:-1], numbers[1:])]
        if last_row is not None:
            pairs.append(_pairs(last_row, numbers[:1]))
        last_row = numbers[-1:]
        first += found
    touching = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
    return _Regions(np.concatenate(classes), np.concatenate(sizes), touching)


def _label(rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the regions of some rows by their first pixel, row by row; -1 where no class is.

    Runs along rows are joined with those that they touch in the row below: there are far fewer
    runs than pixels.

    Returns:
        (h, w) int32, and how many regions there are.
    """
    starts = np.ones(rows.shape, dtype=bool)
    starts[:, 1:] = rows[:, 1:] != rows[:, :-1]
    runs = np.cumsum(starts.ravel(), dtype=np.int32).reshape(rows.shape) - 1
    count = int(runs[-1, -1]) + 1
    same = rows[1:] == rows[:-1]
    # one pair for each stretch along which two runs touch
    same[:, 1:] &= starts[1:, 1:] | starts[:-1, 1:] | ~same[:, :-1]
    upper, lower = runs[:-1][same], runs[1:][same]
    groups = _connected(upper, lower, count)
    with_class = rows[starts] >= 0
    _, first_run, inverse = np.unique(groups, return_index=True, return_inverse=True)
    keeps = with_class[first_run]
    order = np.argsort(np.where(keeps, first_run, count), kind="stable")
    number = np.empty(len(first_run), dtype=np.int32)
    number[order] = np.arange(len(first_run), dtype=np.int32)
    number[~keeps] = -1
    return number[inverse][runs], int(keeps.sum())


def _pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which different numbers lie side by side, each pair once, the smaller first."""
    apart = (one != other) & (one >= 0) & (other >= 0)
    low, high = np.minimum(one[apart], other[apart]), np.maximum(one[apart], other[apart])
    return _once(np.stack([low, high], axis=1))


def _once(pairs: np.ndarray) -> np.ndarray:
    """Return each pair of numbers once, in order."""
    if not len(pairs):
        return pairs.astype(np.int64).reshape(-1, 2)
    span = int(pairs.max()) + 1
    keys = np.unique(pairs[:, 0] * span + pairs[:, 1])
    return np.stack(np.divmod(keys, span), axis=1)


def _joined(regions: _Regions, least_px: int) -> tuple[np.ndarray, int]:
    """Return the class that each part comes to, (N,) int16, and how many regions were joined."""
    part_of = np.arange(len(regions.classes))
    classes, sizes, touching = regions.classes, regions.sizes, regions.touching
    joined = 0
    while True:
        same = classes[touching[:, 0]] == classes[touching[:, 1]]
        if same.any():  # cut by strips, or joined to one class: one region
            classes, sizes, touching, groups = _contract(touching[same], classes, sizes, touching)
            part_of = groups[part_of]
            continue
        pointers = _to_largest_neighbour(sizes, touching, least_px)
        if not len(pointers):
            return classes[part_of], joined
        joined += len(np.unique(pointers[:, 0]))
        classes, sizes, touching, groups = _contract(pointers, classes, sizes, touching)
        part_of = groups[part_of]


def _connected(these: np.ndarray, those: np.ndarray, count: int) -> np.ndarray:
    """Return a number for each of ``count`` things, the same for those joined by pairs, (N,)."""
    from scipy.sparse import coo_array  # so late because every map would pay for it
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(these), dtype=bool), (these, those)), shape=(count, count))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups


def _groups(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return the group of each of ``count`` regions, numbered by their first members, (N,)."""
    groups = _connected(pairs[:, 0], pairs[:, 1], count)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    return number[inverse]


def _leaders(groups: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the largest member of each group, the first of equals, (G,)."""
    order = np.lexsort((np.arange(len(groups)), -sizes, groups))
    first = np.ones(len(order), dtype=bool)
    first[1:] = groups[order][1:] != groups[order][:-1]
    leaders: np.ndarray = order[first]
    return leaders


def _contract(
    links: np.ndarray, classes: np.ndarray, sizes: np.ndarray, touching: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make one region of those that are linked; it has the class of its largest member.

    Returns:
        Classes, sizes and contacts of the new regions, and the new region of each old one.
    """
    groups = _groups(links, len(classes))
    total = np.bincount(groups, weights=sizes.astype(np.float64)).astype(np.int64)
    pairs = np.sort(groups[touching], axis=1)
    contacts = _once(pairs[pairs[:, 0] != pairs[:, 1]])
    return classes[_leaders(groups, sizes)], total, contacts, groups


def _to_largest_neighbour(sizes: np.ndarray, touching: np.ndarray, least_px: int) -> np.ndarray:
    """Return (small region, its largest neighbour) for each that has one, (S, 2)."""
    both = np.concatenate([touching, touching[:, ::-1]])
    both = both[sizes[both[:, 0]] < least_px]
    order = np.lexsort((both[:, 1], -sizes[both[:, 1]], both[:, 0]))
    both = both[order]
    first = np.ones(len(both), dtype=bool)
    first[1:] = both[1:, 0] != both[:-1, 0]
    pointers: np.ndarray = both[first]
    return pointers
