"""A finished map of numbers: read window by window, its statistics and histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.errors import SceneError
from rsmeta.geo.grid import Grid
from rsmeta.geo.handles import open_raster, reading
from rsmeta.geo.pixel_area import cover_of
from rsmeta.gis.class_map import STEP_PX
from rsmeta.gis.outputs.map_statistics import Statistics
from rsmeta.gis.tags import CLASSES

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from rasterio.windows import Window

#: Bars of a histogram.
BINS = 48

#: A histogram spans this many standard deviations on both sides of the mean: outliers would
#: otherwise squeeze everything else into one bar.
_REACH = 4.0


@dataclass(frozen=True)
class Spread:
    """Statistics and histogram of the numbers of a map.

    Attributes:
        statistics: Of all of them.
        span: Ends of the histogram.
        counts: Pixels in each of its bars, all equally wide, (``BINS``,).
        below: Pixels below the span.
        above: Pixels above it.
        area_m2: Area that they cover, on the ellipsoid; none without a CRS.
    """

    statistics: Statistics
    span: tuple[float, float]
    counts: tuple[int, ...]
    below: int
    above: int
    area_m2: float | None


@dataclass(frozen=True)
class QuantityMap:
    """A map of numbers; holds no open file.

    Attributes:
        path: The file, of one band.
        grid: Place of its pixels.
        name: What the numbers mean.
        unit: Their unit, if they have one.
    """

    path: str
    grid: Grid
    name: str
    unit: str | None

    def read(self, window: Window, shape: tuple[int, int] | None = None) -> np.ndarray:
        """Return the numbers of a window inside the map, (h, w) float32, NaN where there is none.

        Args:
            window: The window.
            shape: Thin it to so many rows and columns; none: it is read as it is.

        Raises:
            SceneUnreadableError: The file is damaged or was removed.
        """
        with reading(self.path):
            raster = open_raster(self.path)
            raw = raster.read(1, window=window, out_shape=shape)
        numbers: np.ndarray = (raw * raster.scales[0] + raster.offsets[0]).astype(np.float32)
        unknown = ~np.isfinite(numbers)
        if raster.nodata is not None:
            unknown |= raw == raster.nodata
        numbers[unknown] = np.nan
        return numbers

    def spread(self) -> Spread:
        """Return statistics and histogram; reads the whole map twice.

        Raises:
            SceneUnreadableError: The file is damaged or was removed.
        """
        statistics, area_m2 = Statistics(), 0.0
        for window in self.grid.windows(STEP_PX):
            numbers, grid = self.read(window), self.grid.crop(window)
            statistics += Statistics.of(numbers)
            there = np.isfinite(numbers)
            _, areas = cover_of(np.zeros(there.shape, dtype=np.int64), there, grid, 1)
            area_m2 += 0 if areas is None else float(areas[0])
        span = _span(statistics)
        counts, below, above = np.zeros(BINS, dtype=np.int64), 0, 0
        for window in self.grid.windows(STEP_PX):
            numbers = self.read(window)
            known = numbers[np.isfinite(numbers)].astype(np.float64)
            counts += np.histogram(known, BINS, span)[0]
            below += int((known < span[0]).sum())
            above += int((known > span[1]).sum())
        return Spread(
            statistics, span, tuple(map(int, counts)), below, above,
            None if self.grid.crs is None else area_m2,
        )  # fmt: skip


def _span(statistics: Statistics) -> tuple[float, float]:
    if not statistics.count:
        return 0.0, 1.0
    reach = _REACH * statistics.deviation
    low = max(statistics.low, statistics.mean - reach)
    high = min(statistics.high, statistics.mean + reach)
    return (low, high) if high > low else (low, low + 1.0)


def holds_quantity(path: str | Path) -> bool:
    """Return whether a file is a map of numbers: one band of them, and no classes.

    Raises:
        SceneError: It cannot be read.
    """
    raster = open_raster(str(path))
    is_quantity = np.issubdtype(np.dtype(raster.dtypes[0]), np.floating) or raster.scales[0] != 1
    return bool(raster.count == 1 and is_quantity and CLASSES not in raster.tags())


def open_quantity_map(path: str | Path) -> QuantityMap:
    """Open a map of numbers.

    Raises:
        SceneError: It cannot be read, or holds something else.
    """
    if not holds_quantity(path):
        raise SceneError(f"{path} is no map of numbers; give a raster of one band of them")
    raster = open_raster(str(path))
    grid = Grid(raster.crs or None, raster.transform, raster.height, raster.width)
    return QuantityMap(str(path), grid, raster.descriptions[0] or "value", _unit(raster))


def _unit(raster: Any) -> str | None:
    unit = raster.units[0]
    return None if unit is None else str(unit).strip() or None
