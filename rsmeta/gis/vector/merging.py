"""Give small regions to a neighbour, so that none is smaller than a given area."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.gis.labelling import components, label_regions
from rsmeta.gis.vector.regions import sums_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rsmeta.gis.vector.regions import Regions, Strip

    Ints = NDArray[np.integer]


def merge_small(regions: Regions, strips: Iterable[Strip], smallest_m2: float) -> Regions:
    """Merge each region that is too small with the larger neighbour of the longest border.

    The smallest go first, and what was merged counts as one. A region without a neighbour stays,
    whatever its area.

    Args:
        regions: As ``find_regions`` found them.
        strips: The same strips once more.
        smallest_m2: The least area of a region.
    """
    is_small = regions.area_m2 < smallest_m2
    if not is_small.any():
        return regions
    pairs, border_px = _borders(regions, strips, is_small)
    count = len(regions.value)
    group: Ints = np.arange(count)
    value, area = regions.value, regions.area_m2
    while True:
        joined = _to_neighbours(group[pairs], border_px, area, smallest_m2)
        groups, of_group = components(joined[0], joined[1], len(area))
        if groups == len(area):
            break
        group = of_group[group]
        value = _of_largest(value, area, of_group, groups)
        area = sums_by(of_group, area, groups)
        # Merging may have made neighbours of one class, which are one region then.
        ends = group[pairs]
        alike = value[ends[0]] == value[ends[1]]
        groups, of_group = components(ends[0, alike], ends[1, alike], len(area))
        group = of_group[group]
        value = _of_largest(value, area, of_group, groups)
        area = sums_by(of_group, area, groups)
    return _regrouped(regions, group, value, area)


def _borders(
    regions: Regions, strips: Iterable[Strip], is_small: NDArray[np.bool_]
) -> tuple[Ints, Ints]:
    """Return pairs of neighbours, at least one of them small, (2, N), and their border, (N,)."""
    found: list[tuple[Ints, Ints]] = []
    for number, strip in enumerate(strips):
        of = regions.of(number, label_regions(strip.values, strip.valid)[1])
        beside = (of[strip.shown :, :-1], of[strip.shown :, 1:])
        below = (of[:-1], of[1:])
        sides = [_parted(first, second, is_small) for first, second in (beside, below)]
        found.append(_counted(np.concatenate(sides, axis=1)))
    both = np.concatenate([pairs for pairs, _ in found], axis=1)
    return _counted(both, np.concatenate([counts for _, counts in found]))


def _parted(first: Ints, second: Ints, is_small: NDArray[np.bool_]) -> Ints:
    """Return the regions on both sides of each border of a small one, the lesser number first."""
    apart = (first != second) & (first >= 0) & (second >= 0)
    ends = np.stack([first[apart], second[apart]])
    ends = ends[:, is_small[ends].any(axis=0)]
    return np.sort(ends, axis=0)


def _counted(pairs: Ints, counts: Ints | None = None) -> tuple[Ints, Ints]:
    """Return each pair once, and how often it is there, or the sum of its counts."""
    names = pairs[0].astype(np.int64) << 32 | pairs[1]
    once, index = np.unique(names, return_inverse=True)
    total = np.bincount(index, weights=counts, minlength=len(once)).astype(np.int64)
    return np.stack([once >> 32, once & 0xFFFFFFFF]), total


def _to_neighbours(
    ends: Ints, border_px: Ints, area: NDArray[np.float64], smallest_m2: float
) -> Ints:
    """Return which small groups go to which larger ones, (2, M): one pair per small group."""
    one, other = np.concatenate([ends, ends[::-1]], axis=1)
    rank = np.empty(len(area), dtype=np.int64)
    rank[np.argsort(area, kind="stable")] = np.arange(len(area))
    fits = (area[one] < smallest_m2) & (rank[other] > rank[one])
    one, other = one[fits], other[fits]
    length = np.concatenate([border_px, border_px])[fits]
    names, index = np.unique(one * len(area) + other, return_inverse=True)
    length = sums_by(index, length, len(names))
    one, other = np.divmod(names, len(area))
    best = np.lexsort((rank[other], length, one))  # of one, the best comes last
    is_last = np.ones(len(best), dtype=bool)
    is_last[:-1] = one[best][1:] != one[best][:-1]
    chosen = best[is_last]
    return np.stack([one[chosen], other[chosen]])


def _of_largest(
    value: NDArray[np.int32], area: NDArray[np.float64], of_group: Ints, groups: int
) -> NDArray[np.int32]:
    """Return for each group the class of its largest part."""
    chosen = np.empty(groups, dtype=np.int32)
    ascending = np.argsort(area, kind="stable")
    chosen[of_group[ascending]] = value[ascending]  # of equal places the last one counts
    return chosen


def _regrouped(
    regions: Regions, group: Ints, value: NDArray[np.int32], area: NDArray[np.float64]
) -> Regions:
    count = len(area)
    last_strip = np.zeros(count, dtype=np.int32)
    np.maximum.at(last_strip, group, regions.last_strip)
    pixels = sums_by(group, regions.pixels, count)
    confidence = None
    if regions.confidence is not None:
        sure = regions.confidence * regions.pixels
        confidence = sums_by(group, sure, count) / pixels
    return replace(
        regions, region_of=group[regions.region_of].astype(np.int32), value=value,
        pixels=pixels.astype(np.int64), area_m2=area, confidence=confidence,
        last_strip=last_strip,
    )  # fmt: skip
