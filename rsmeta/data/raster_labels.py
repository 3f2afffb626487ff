"""Label rasters: read on the scene's grid, by nearest neighbour where they lie on another."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import shapely
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window, intersect

from rsmeta.data.label_reader import IGNORE, LabelReader
from rsmeta.errors import LabelsError, enumerate_names, one_line
from rsmeta.geo.footprint import outline
from rsmeta.geo.grid import Grid
from rsmeta.geo.reprojection import onto_grid

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.data.label_reader import LabelRules

logger = logging.getLogger(__name__)


class RasterLabels(LabelReader):
    """A label raster on a scene's grid; a raster on another grid is warped by nearest neighbour.

    Args:
        path: The label raster, one band.
        grid: Grid of the scene that it labels.
        rules: Classes and ignored values; the raster's own nodata value is ignored too.

    Raises:
        LabelsError: The file cannot be read, does not overlap the scene, or holds a value that
            is neither a class nor ignored.
    """

    def __init__(self, path: Path, grid: Grid, rules: LabelRules) -> None:
        self.path = path
        self.grid = grid
        self._index_of = {spec.value: i for i, spec in enumerate(rules.classes)}
        self._ignored = set(rules.ignore)
        with _opened(path) as raster:
            if raster.nodata is not None and float(raster.nodata).is_integer():
                self._ignored.add(int(raster.nodata))
            own = Grid(raster.crs, raster.transform, raster.height, raster.width)
        self._aligned = own.crs == grid.crs and own.transform.almost_equals(grid.transform)
        there = onto_grid(np.array([outline(own)]), own.crs, grid)[0]
        if shapely.intersection(outline(grid), there).area == 0:
            raise LabelsError(f"the labels {path} do not overlap the scene; check data.labels")
        if not self._aligned:
            logger.info("labels %s lie on another grid; read by nearest neighbour", path)

    def read(self, window: Window) -> np.ndarray:
        """Return class indices of a window of the scene's grid, (H, W) int64."""
        with _opened(self.path) as raster:
            try:
                read = _read_padded if self._aligned else self._read_warped
                values, known = read(raster, window)
            except RasterioError as error:
                raise LabelsError(f"cannot read {self.path} ({one_line(error)})") from error
        return self._to_labels(values, known)

    def _read_warped(
        self, raster: rasterio.DatasetReader, window: Window
    ) -> tuple[np.ndarray, np.ndarray]:
        grid = self.grid.crop(window)
        with WarpedVRT(
            raster, crs=grid.crs or raster.crs, transform=grid.transform, width=grid.width_px,
            height=grid.height_px, resampling=Resampling.nearest, add_alpha=True,
        ) as warped:  # fmt: skip
            return warped.read(1), warped.read(warped.count) > 0

    def _to_labels(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        labels = np.full(values.shape, IGNORE, dtype=np.int64)
        for value in np.unique(values[known]).tolist():
            if value in self._index_of:
                labels[known & (values == value)] = self._index_of[value]
            elif value not in self._ignored and value == value:
                listed = enumerate_names([str(v) for v in sorted(self._index_of)])
                raise LabelsError(
                    f"{self.path} holds the value {value:g}, which is no class ({listed}); "
                    f"add it to data.classes or to data.ignore"
                )
        return labels


def _opened(path: Path) -> rasterio.DatasetReader:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            raster = rasterio.open(path)
    except RasterioError as error:
        raise LabelsError(f"cannot read the labels {path} ({one_line(error)})") from error
    if raster.count != 1:
        raster.close()
        raise LabelsError(f"{path} has {raster.count} bands; a label raster has one")
    return raster


def _read_padded(raster: rasterio.DatasetReader, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Read a window that may reach outside; what lies outside is not known."""
    shape = (int(window.height), int(window.width))
    values = np.zeros(shape, dtype=raster.dtypes[0])
    known = np.zeros(shape, dtype=bool)
    full = Window(0, 0, raster.width, raster.height)
    if intersect(window, full):
        inside = window.intersection(full)
        row, col = int(inside.row_off - window.row_off), int(inside.col_off - window.col_off)
        there = np.s_[row : row + int(inside.height), col : col + int(inside.width)]
        values[there] = raster.read(1, window=inside)
        known[there] = True
    return values, known
