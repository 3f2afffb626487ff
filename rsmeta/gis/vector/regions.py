"""Number the regions of a class map: pixels of one class that touch along sides.

The map is seen in strips that share a row with the next one, and never as a whole. What is kept
is a few numbers per region and strip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rsmeta.gis.labelling import NO_REGION, components, label_regions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


def sums_by(group: NDArray[np.integer], numbers: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Return the sum of the numbers of each of ``count`` groups, (count,)."""
    sums = np.bincount(group, weights=numbers, minlength=count)
    return sums.astype(np.float64, copy=False)


class Strip(NamedTuple):
    """Some rows of the map.

    Attributes:
        values: Classes, (h, W).
        valid: Pixels that count, (h, W).
        areas_m2: Area of each pixel, broadcastable to (h, W).
        confidence: How sure each pixel is, (h, W); none where that is not known.
        shown: Number of its first rows that an earlier strip has shown: 0 or 1.
    """

    values: NDArray[np.integer]
    valid: NDArray[np.bool_]
    areas_m2: NDArray[np.float64]
    confidence: NDArray[np.floating] | None
    shown: int


@dataclass(frozen=True)
class Regions:
    """All regions of a map, R in number.

    Attributes:
        offset: Place in ``region_of`` of each strip's first label, (strips,).
        region_of: Region of each strip's labels, one strip after the other.
        value: Class of each region, (R,).
        pixels: Pixels of each, (R,).
        area_m2: Area of each, (R,).
        confidence: Mean over its pixels, (R,); none where that is not known.
        last_strip: The last strip in which it has a pixel, (R,).
    """

    offset: NDArray[np.int64]
    region_of: NDArray[np.int32]
    value: NDArray[np.int32]
    pixels: NDArray[np.int64]
    area_m2: NDArray[np.float64]
    confidence: NDArray[np.float64] | None
    last_strip: NDArray[np.int32]

    def of(self, strip: int, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return labels of a strip as regions of the map; ``NO_REGION`` stays."""
        regions, found = np.full_like(labels, NO_REGION), labels >= 0
        regions[found] = self.region_of[self.offset[strip] + labels[found]]
        return regions


class _Sums(NamedTuple):
    """Per label of one strip."""

    value: NDArray[np.int32]
    pixels: NDArray[np.int32]
    area_m2: NDArray[np.float64]
    confidence: NDArray[np.float64] | None


def find_regions(strips: Iterable[Strip]) -> Regions:
    """Number the regions of a map, and sum up what lies in each.

    Args:
        strips: From top to bottom; the first row of each is the last one of the strip before.
    """
    offset, sums, seams = [0], [], []
    above = None
    for strip in strips:
        count, labels = label_regions(strip.values, strip.valid)
        sums.append(_sums(strip, labels, count))
        if above is not None:
            joined = labels[0] >= 0
            pairs = np.stack([above[joined], offset[-1] + labels[0][joined]])
            seams.append(np.unique(pairs, axis=1))
        above = np.where(labels[-1] < 0, NO_REGION, offset[-1] + labels[-1].astype(np.int64))
        offset.append(offset[-1] + count)
    pairs = np.concatenate(seams, axis=1) if seams else np.zeros((2, 0), dtype=np.int64)
    count, region_of = components(pairs[0], pairs[1], offset[-1])
    return _joined(np.array(offset), sums, count, region_of.astype(np.int32))


def _sums(strip: Strip, labels: NDArray[np.int32], count: int) -> _Sums:
    value = np.zeros(count, dtype=np.int32)
    value[labels[strip.valid]] = strip.values[strip.valid]
    rows = slice(strip.shown, None)
    inside = strip.valid[rows]
    own = labels[rows][inside]
    areas = np.broadcast_to(strip.areas_m2, strip.values.shape)[rows][inside]
    pixels = np.bincount(own, minlength=count).astype(np.int32)
    area_m2 = sums_by(own, areas, count)
    if strip.confidence is None:
        return _Sums(value, pixels, area_m2, None)
    sure = strip.confidence[rows][inside]
    return _Sums(value, pixels, area_m2, sums_by(own, sure, count))


def _joined(
    offset: NDArray[np.int64], sums: list[_Sums], count: int, region_of: NDArray[np.int32]
) -> Regions:
    """Sum up the labels of each region."""

    def total(parts: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        return sums_by(region_of, np.concatenate([*parts, np.zeros(0)]), count)

    pixels = np.rint(total([one.pixels for one in sums])).astype(np.int64)
    sure = [one.confidence for one in sums if one.confidence is not None]
    value = np.zeros(count, dtype=np.int32)
    value[region_of] = np.concatenate([np.zeros(0, dtype=np.int32), *(s.value for s in sums)])
    last_strip = np.zeros(count, dtype=np.int32)
    last_strip[region_of] = np.repeat(np.arange(len(sums)), np.diff(offset))
    return Regions(
        offset=offset, region_of=region_of, value=value, pixels=pixels,
        area_m2=total([one.area_m2 for one in sums]),
        confidence=total(sure) / pixels if sure else None, last_strip=last_strip,
    )  # fmt: skip
