"""A finished class map: read window by window as class indices, and the cover of its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.geo.grid import Grid, whole_pixels
from rsmeta.geo.handles import open_raster, reading
from rsmeta.geo.pixel_area import cover_of
from rsmeta.gis.tags import map_classes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rasterio.windows import Window

    from rsmeta.config.data import ClassSpec

#: Index of a pixel that is of no class.
NO_CLASS = -1

#: Side of the windows in which a map is read, in pixels.
STEP_PX = 2048


@dataclass(frozen=True)
class ClassMap:
    """A class map that rsmeta wrote; holds no open file.

    Attributes:
        path: The file.
        grid: Place of its pixels.
        classes: Values, names and colours; an index is a place in this list.
    """

    path: str
    grid: Grid
    classes: tuple[ClassSpec, ...]

    def windows(self, step_px: int = STEP_PX) -> Iterator[Window]:
        """Yield windows that cover the map exactly, row by row, smaller at its far edges."""
        return self.grid.windows(step_px)

    def read(self, window: Window) -> np.ndarray:
        """Return class indices of a window inside the map, (h, w) int16, ``NO_CLASS`` where none.

        Raises:
            SceneUnreadableError: The file is damaged or was removed.
        """
        with reading(self.path):
            return self.to_indices(open_raster(self.path).read(1, window=window))

    def to_indices(self, values: np.ndarray) -> np.ndarray:
        """Return map values of any shape as class indices, int16."""
        largest = max(spec.value for spec in self.classes)
        table = np.full(largest + 2, NO_CLASS, dtype=np.int16)
        table[[spec.value for spec in self.classes]] = range(len(self.classes))
        indices: np.ndarray = table[np.minimum(values, largest + 1)]
        return indices

    def at(self, cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the class indices of single pixels, (N,) int16; ``NO_CLASS`` outside the map."""
        found = np.full(len(cols), NO_CLASS, dtype=np.int16)
        for window in self.windows():
            row, col, height, width = whole_pixels(window)
            inside = (rows >= row) & (rows < row + height) & (cols >= col) & (cols < col + width)
            if inside.any():
                found[inside] = self.read(window)[rows[inside] - row, cols[inside] - col]
        return found

    def cover(self) -> Cover:
        """Return what each class covers; reads the whole map once."""
        pixels = np.zeros(len(self.classes), dtype=np.int64)
        areas = np.zeros(len(self.classes))
        for window in self.windows():
            indices = self.read(window)
            grid = self.grid.crop(window)
            counts, cover_m2 = cover_of(indices, indices >= 0, grid, len(self.classes))
            pixels += counts
            areas += 0 if cover_m2 is None else cover_m2
        known = None if self.grid.crs is None else tuple(map(float, areas))
        return Cover(tuple(map(int, pixels)), known)


@dataclass(frozen=True)
class Cover:
    """What the classes of a map cover.

    Attributes:
        pixels: Pixels of each class, (K,).
        areas_m2: Their area on the ellipsoid; none without a CRS.
    """

    pixels: tuple[int, ...]
    areas_m2: tuple[float, ...] | None


def open_class_map(path: str | Path) -> ClassMap:
    """Open a map that ``rsmeta predict`` wrote.

    Raises:
        SceneError: It cannot be read, or does not name its classes.
    """
    classes = map_classes(path)
    raster = open_raster(str(path))
    grid = Grid(raster.crs or None, raster.transform, raster.height, raster.width)
    return ClassMap(str(path), grid, classes)
