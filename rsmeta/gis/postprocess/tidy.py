"""Tidy class maps of any size: a majority filter, and a sieve of small regions.

Both work through a store of class indices on the disk, some rows at a time, and what they give does
not depend on how many rows that are. Pixels without class stay so, and none is made.

What it costs: the majority filter holds some rows. The sieve holds the regions, not the pixels,
while it is decided which are joined. Maps of networks have few; noise has many, and is better
filtered first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.errors import OutputError
from rsmeta.gis.progress import in_steps, silent, watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rsmeta.gis.progress import Tell

#: Pixels that are worked on at once.
STRIP_PX = 4_000_000
# Parts of regions are numbered in int32.
_MOST_PARTS = 2**31 - 1


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


def sieve(
    store: ClassStore, least_px: int, *, strip_px: int = STRIP_PX, tell: Tell = silent
) -> int:
    """Join regions of less than ``least_px`` pixels to their largest neighbour.

    A region is a set of pixels of one class that touch by their sides. The joined region counts as
    one from then on, until each region is large enough or has no neighbour. Of neighbours of one
    size the one that begins first, row by row, is taken.

    Args:
        store: The map; it is changed.
        least_px: Pixels that a region must have.
        strip_px: Pixels that are worked on at once; the result does not depend on it.
        tell: Called as the map is gone through.

    Returns:
        How many regions were joined to another.
    """
    on_surveyed, on_written = in_steps(tell, 2)
    strips = list(store.strips(strip_px))
    regions = _survey(store, watched(strips, len(strips), on_surveyed), least_px)
    classes, joined = _joined(regions, least_px)
    if not joined:
        return 0
    first = 0
    for top, end in watched(strips, len(strips), on_written):
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

    There may be as many as a tenth of the pixels, so that their arrays are kept small.

    Attributes:
        classes: Class index of each part, (N,) int16.
        sizes: Its pixels, (N,) int64.
        touching: Pairs of parts that touch, of one class across a cut or of different classes,
            the smaller number first, (E, 2) int32. Two parts of different classes that are both
            large are left out: neither is ever joined to the other.
    """

    classes: np.ndarray
    sizes: np.ndarray
    touching: np.ndarray


def _survey(store: ClassStore, strips: Iterable[tuple[int, int]], least_px: int) -> _Regions:
    """Number all parts of regions, and note which of them touch."""
    classes, sizes, pairs = [], [], []
    first = 0
    above: np.ndarray | None = None  # numbers of the parts along the last row
    for top, end in strips:
        rows = store.read(top, end)
        labels, found = _label(rows)
        if first + found > _MOST_PARTS:
            raise OutputError(
                f"the map has more than {_MOST_PARTS} regions; filter it by --majority first"
            )
        known = labels >= 0
        of_class = np.zeros(found, dtype=np.int16)
        of_class[labels[known]] = rows[known]
        size = np.bincount(labels[known], minlength=found)
        inside = [_pairs(labels[:, :-1], labels[:, 1:]), _pairs(labels[:-1], labels[1:])]
        part = _that_count(_Regions(of_class, size, _once(np.concatenate(inside))), least_px)
        pairs.append(part.touching + np.int32(first))
        if above is not None:
            numbers = np.where(known[:1], labels[:1] + np.int32(first), np.int32(-1))
            pairs.append(_pairs(above, numbers))
        above = np.where(known[-1:], labels[-1:] + np.int32(first), np.int32(-1))
        classes.append(of_class)
        sizes.append(size)
        first += found
    return _Regions(np.concatenate(classes), np.concatenate(sizes), np.concatenate(pairs))


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
    return _once(np.stack([one[apart], other[apart]], axis=1))


def _once(pairs: np.ndarray) -> np.ndarray:
    """Return each pair of different int32 numbers once, the smaller first, in order."""
    keys = np.minimum(pairs[:, 0], pairs[:, 1]).astype(np.int64)
    keys <<= 32
    keys |= np.maximum(pairs[:, 0], pairs[:, 1])
    keys.sort()
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = keys[1:] != keys[:-1]
    keys = keys[fresh]
    once = np.empty((len(keys), 2), dtype=np.int32)
    once[:, 0] = keys >> 32
    once[:, 1] = keys & 0xFFFFFFFF
    different: np.ndarray = once[once[:, 0] != once[:, 1]]
    return different


def _joined(regions: _Regions, least_px: int) -> tuple[np.ndarray, int]:
    """Return the class that each part comes to, (N,) int16, and how many regions were joined."""
    part_of = np.arange(len(regions.classes), dtype=np.int32)
    now, joined = regions, 0
    while True:
        links = now.touching[now.classes[now.touching[:, 0]] == now.classes[now.touching[:, 1]]]
        if len(links):  # cut by strips, or joined to one class: one region
            leaders = _connected(links[:, 0], links[:, 1], len(now.classes))
        else:
            leaders = _leaders(now, least_px)
            moved = int(np.count_nonzero(leaders != np.arange(len(leaders))))
            if not moved:
                return now.classes[part_of], joined
            joined += moved
        now, region_of = _contract(leaders, now, least_px)
        part_of = region_of[part_of]


def _connected(these: np.ndarray, those: np.ndarray, count: int) -> np.ndarray:
    """Return a number for each of ``count`` things, the same for those joined by pairs, (N,)."""
    from scipy.sparse import coo_array  # so late because every map would pay for it
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(these), dtype=bool), (these, those)), shape=(count, count))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups


def _leaders(regions: _Regions, least_px: int) -> np.ndarray:
    """Return the region that each one comes to when all small ones go to a neighbour, (N,) int32.

    Each goes to its largest neighbour, and with it wherever that goes.
    """
    count = len(regions.sizes)
    by_rank = _from_the_largest(regions.sizes)
    rank = np.empty(count, dtype=np.int32)
    rank[by_rank] = np.arange(count, dtype=np.int32)
    best = np.full(count, count, dtype=np.int32)  # rank of the largest neighbour
    one, other = regions.touching.T
    np.minimum.at(best, one, rank[other])
    np.minimum.at(best, other, rank[one])
    leaders = np.arange(count, dtype=np.int32)
    goes = (regions.sizes < least_px) & (best < count)
    leaders[goes] = by_rank[best[goes]]
    # Two may be each other's largest neighbour: the larger one stays. There are no longer circles,
    # since of neighbours in a row none is larger than the next but one.
    target = leaders[leaders]
    stays = (target == np.arange(count)) & (rank < rank[leaders])
    leaders[stays] = np.flatnonzero(stays)
    while True:
        further = leaders[leaders]
        if np.array_equal(further, leaders):
            return leaders
        leaders = further


def _from_the_largest(sizes: np.ndarray) -> np.ndarray:
    """Return regions by size, the largest first; of equals the first, (N,)."""
    order: np.ndarray = np.argsort(-sizes, kind="stable")
    return order


def _contract(groups: np.ndarray, regions: _Regions, least_px: int) -> tuple[_Regions, np.ndarray]:
    """Make one region of each group; it has the class of its largest member.

    Args:
        groups: A number below N for each region, the same for those of a group, (N,).
        regions: The regions.
        least_px: Pixels that a region must have.

    Returns:
        The new regions, numbered by their first members, and the new one of each old one, (N,).
    """
    count = len(groups)
    first = np.empty(count, dtype=np.int32)
    first[groups[::-1]] = np.arange(count, dtype=np.int32)[::-1]  # of equals the last one counts
    head = first[groups]
    is_head = head == np.arange(count)
    region_of = (np.cumsum(is_head, dtype=np.int32) - 1)[head]
    sizes = np.bincount(region_of, weights=regions.sizes).astype(np.int64)
    ascending = _from_the_largest(regions.sizes)[::-1]
    classes = np.empty(len(sizes), dtype=np.int16)
    classes[region_of[ascending]] = regions.classes[ascending]
    touching = _once(region_of[regions.touching])
    return _that_count(_Regions(classes, sizes, touching), least_px), region_of


def _that_count(regions: _Regions, least_px: int) -> _Regions:
    """Return regions without contacts of two large ones of different classes."""
    one, other = regions.touching.T
    is_small = regions.sizes < least_px
    counts = is_small[one] | is_small[other] | (regions.classes[one] == regions.classes[other])
    return replace(regions, touching=regions.touching[counts])
