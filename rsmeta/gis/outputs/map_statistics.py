"""Statistics of finished blocks of a map: pixels and areas per class, or those of numbers."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Statistics of the numbers in a map, in their unit.

    Attributes:
        count: How many there are.
        low: The smallest; infinite if there is none.
        high: The largest; likewise.
        mean: Their mean; 0 if there is none.
        squares: Sum of their squared distances from the mean.
    """

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, numbers: np.ndarray) -> Statistics:
        """Return the statistics of numbers of any shape; ignoring those that are not finite."""
        known = numbers[np.isfinite(numbers)].astype(np.float64)
        if not known.size:
            return cls()
        mean = float(known.mean())
        squares = float(((known - mean) ** 2).sum())
        return cls(int(known.size), float(known.min()), float(known.max()), mean, squares)

    def __add__(self, other: Statistics) -> Statistics:
        """Return the statistics of both together.

        Source: Chan, Golub & LeVeque 1983, "Algorithms for Computing the Sample Variance".
        """
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        return Statistics(
            count, min(self.low, other.low), max(self.high, other.high),
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart**2 * self.count * other.count / count,
        )  # fmt: skip

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


@dataclass(frozen=True)
class MapStatistics:
    """Statistics of finished blocks.

    Attributes:
        pixels: Mapped pixels per class, (K,).
        areas_m2: Their area likewise; none where the grid has no CRS.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel, which did not.
        numbers: Statistics of a map of numbers; empty for one of classes.
        not_finite: Pixels that are nodata because their scores are not finite.
    """

    pixels: tuple[int, ...]
    areas_m2: tuple[float, ...] | None
    tiles: int = 0
    skipped: int = 0
    numbers: Statistics = Statistics()
    not_finite: int = 0

    def __add__(self, other: MapStatistics) -> MapStatistics:
        """Return the sum."""
        areas = None
        if self.areas_m2 is not None and other.areas_m2 is not None:
            areas = tuple(map(sum, zip(self.areas_m2, other.areas_m2, strict=True)))
        pixels = tuple(map(sum, zip(self.pixels, other.pixels, strict=True)))
        return MapStatistics(
            pixels, areas, self.tiles + other.tiles, self.skipped + other.skipped,
            self.numbers + other.numbers, self.not_finite + other.not_finite,
        )  # fmt: skip

    def as_json(self) -> Any:
        """Return what ``from_json`` takes."""
        numbers = astuple(self.numbers) if self.numbers.count else None
        return [self.pixels, self.areas_m2, self.tiles, self.skipped, numbers, self.not_finite]

    @classmethod
    def from_json(cls, tree: Any) -> MapStatistics:
        """Return what ``as_json`` gave."""
        pixels, areas, tiles, skipped, numbers, not_finite = tree
        return cls(
            tuple(pixels), None if areas is None else tuple(areas), tiles, skipped,
            Statistics(*numbers) if numbers else Statistics(), not_finite,
        )  # fmt: skip
