"""Sieve: small regions are joined to their largest neighbour.

The map is read and written some rows at a time, and the result does not depend on how many rows
that are. Pixels without class stay so, and none is added. Memory holds the regions, not the pixels,
while it is decided which are joined. Maps of networks have few; noise has many, and is better
filtered by majority first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.errors import OutputError
from rsmeta.gis.labelling import components, label_regions
from rsmeta.gis.postprocess.class_store import STRIP_PX
from rsmeta.gis.progress import no_progress, split_progress, with_progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rsmeta.gis.postprocess.class_store import ClassStore
    from rsmeta.gis.progress import OnProgress

# Fragments of regions are numbered in int32.
_MOST_FRAGMENTS = 2**31 - 1


def sieve(
    store: ClassStore,
    least_px: int,
    *,
    strip_px: int = STRIP_PX,
    on_progress: OnProgress = no_progress,
) -> int:
    """Join regions of less than ``least_px`` pixels to their largest neighbour.

    A region is a set of pixels of one class that touch by their sides. The joined region counts as
    one from then on, until each region is large enough or has no neighbour. Of neighbours of one
    size the one that begins first, row by row, is taken.

    Args:
        store: The map; it is changed.
        least_px: Pixels that a region must have.
        strip_px: Pixels that are worked on at once; the result does not depend on it.
        on_progress: Called as the map is gone through.

    Returns:
        How many regions were joined to another.
    """
    on_found, on_written = split_progress(on_progress, 2)
    strips = list(store.strips(strip_px))
    fragments = _fragments(store, with_progress(strips, len(strips), on_found), least_px)
    classes, joined = _joined(fragments, least_px)
    if not joined:
        return 0
    first = 0
    for top, end in with_progress(strips, len(strips), on_written):
        rows = store.read(top, end)
        found, labels = label_regions(rows, rows >= 0)
        known = labels >= 0
        rows[known] = classes[first + labels[known]]
        store.write(top, rows)
        first += found
    return joined


@dataclass(frozen=True)
class _Regions:
    """Regions, or at first their fragments in the strips, numbered from the top.

    There may be as many as a tenth of the pixels, so their arrays are kept small.

    Attributes:
        classes: Class index of each, (N,) int16.
        sizes: Pixels of each, (N,) int64.
        touching: Pairs that touch, of one class across a cut or of different classes, the smaller
            number first, (E, 2) int32. Two of different classes that are both large are left out:
            neither is ever joined to the other.
    """

    classes: np.ndarray
    sizes: np.ndarray
    touching: np.ndarray


def _fragments(store: ClassStore, strips: Iterable[tuple[int, int]], least_px: int) -> _Regions:
    """Number the fragments of all regions, and find which of them touch."""
    classes, sizes, pairs = [], [], []
    first = 0
    above: np.ndarray | None = None  # fragments along the last row
    for top, end in strips:
        rows = store.read(top, end)
        found, labels = label_regions(rows, rows >= 0)
        if first + found > _MOST_FRAGMENTS:
            raise OutputError(
                f"the map has more than {_MOST_FRAGMENTS} regions; filter it by --majority first"
            )
        known = labels >= 0
        of_class = np.zeros(found, dtype=np.int16)
        of_class[labels[known]] = rows[known]
        size = np.bincount(labels[known], minlength=found)
        inside = [_pairs(labels[:, :-1], labels[:, 1:]), _pairs(labels[:-1], labels[1:])]
        own = _relevant(_Regions(of_class, size, _once(np.concatenate(inside))), least_px)
        pairs.append(own.touching + np.int32(first))
        if above is not None:
            numbers = np.where(known[:1], labels[:1] + np.int32(first), np.int32(-1))
            pairs.append(_pairs(above, numbers))
        above = np.where(known[-1:], labels[-1:] + np.int32(first), np.int32(-1))
        classes.append(of_class)
        sizes.append(size)
        first += found
    return _Regions(np.concatenate(classes), np.concatenate(sizes), np.concatenate(pairs))


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
    """Return the final class of each fragment, (N,) int16, and how many regions were joined."""
    region_of_fragment = np.arange(len(regions.classes), dtype=np.int32)
    now, joined = regions, 0
    while True:
        links = now.touching[now.classes[now.touching[:, 0]] == now.classes[now.touching[:, 1]]]
        if len(links):  # cut by strips, or joined to one class: one region
            _, leaders = components(links[:, 0], links[:, 1], len(now.classes))
        else:
            leaders = _leaders(now, least_px)
            moved = int(np.count_nonzero(leaders != np.arange(len(leaders))))
            if not moved:
                return now.classes[region_of_fragment], joined
            joined += moved
        now, region_of = _contract(leaders, now, least_px)
        region_of_fragment = region_of[region_of_fragment]


def _leaders(regions: _Regions, least_px: int) -> np.ndarray:
    """Return the region that each is joined to, itself if to none, (N,) int32.

    A small region is joined to its largest neighbour, and with it to that neighbour's.
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
    # Two may be each other's largest neighbour: the larger one stays. Longer circles cannot occur.
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
    return _relevant(_Regions(classes, sizes, touching), least_px), region_of


def _relevant(regions: _Regions, least_px: int) -> _Regions:
    """Drop contacts of two large regions of different classes."""
    one, other = regions.touching.T
    is_small = regions.sizes < least_px
    counts = is_small[one] | is_small[other] | (regions.classes[one] == regions.classes[other])
    return replace(regions, touching=regions.touching[counts])
