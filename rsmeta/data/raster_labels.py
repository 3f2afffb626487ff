"""Label rasters: read on the scene's grid, by nearest neighbour where they lie on another."""

from __future__ import annotations

import logging
import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import shapely
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window, intersect

from rsmeta.data.label_reader import IGNORE, LabelReader
from rsmeta.errors import LabelsError, enumerate_names, one_line
from rsmeta.geo.footprint import outline
from rsmeta.geo.grid import Grid
from rsmeta.geo.handles import open_raster
from rsmeta.geo.reprojection import onto_grid
from rsmeta.geo.warp import warped

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.data.label_reader import LabelRules

logger = logging.getLogger(__name__)

#: How far the nearest pixel may be missed, in pixels.
_TOLERANCE_PX = 1e-3


class RasterLabels(LabelReader):
    """A label raster on a scene's grid; a raster on another grid is read by nearest neighbour.

    What the file marks as without data, by a nodata value or by a mask, has no label.

    Args:
        path: The label raster, one band.
        grid: Grid of the scene that it labels.
        rules: Classes and ignored values.

    Raises:
        LabelsError: The file cannot be read, does not overlap the scene, or holds a value that
            is neither a class nor ignored.
    """

    def __init__(self, path: Path, grid: Grid, rules: LabelRules) -> None:
        self.path = path
        self.grid = grid
        self._rules = rules
        self._index_of = {spec.value: i for i, spec in enumerate(rules.classes)}
        with _opened(path) as raster:
            own = Grid(raster.crs, raster.transform, raster.height, raster.width)
            if raster.nodata in self._index_of:
                logger.warning(
                    "%s: the class %r has the value %g, which the file declares as nodata; its "
                    "pixels have no label (gdal_edit.py -unsetnodata keeps them)",
                    path, rules.classes[self._index_of[raster.nodata]].name, raster.nodata,
                )  # fmt: skip
        if (own.crs is None) != (grid.crs is None):
            lacks, has = (path, "the scene") if own.crs is None else ("the scene", path)
            raise LabelsError(
                f"{lacks} has no CRS and {has} has one, so they cannot be laid over each other; "
                f"add it, e.g. with gdal_edit.py -a_srs EPSG:…"
            )
        self._shift_px = grid.shift_px(own)
        there = onto_grid(np.array([outline(own)]), own.crs, grid)[0]
        if shapely.intersection(outline(grid), there).area == 0:
            raise LabelsError(f"the labels {path} do not overlap the scene; check data.labels")
        if self._shift_px is None:
            logger.info("labels %s lie on another grid; read by nearest neighbour", path)

    def read(self, window: Window) -> np.ndarray:
        """Return class indices of a window of the scene's grid, (H, W) int64."""
        try:
            values, known = self._read_values(open_raster(self.path), window)
        except RasterioError as error:
            raise LabelsError(f"cannot read {self.path} ({one_line(error)})") from error
        return self._to_labels(values, known)

    def _read_values(
        self, raster: rasterio.DatasetReader, window: Window
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return raw values, and which of them the file marks as data, (H, W) each."""
        if self._shift_px is not None:
            col, row = self._shift_px
            there = Window(window.col_off + col, window.row_off + row, window.width, window.height)
            return _read_padded(raster, there)
        grid = self.grid.crop(window)
        with warped(
            raster, grid, resampling=Resampling.nearest, add_alpha=True, tolerance=_TOLERANCE_PX
        ) as there:
            return there.read(1), there.read(there.count) > 0

    def _to_labels(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        for unknown in self._rules.ignore:
            known = known & ~equals(values, unknown)
        labels = np.full(values.shape, IGNORE, dtype=np.int64)
        for value in np.unique(values[known]).tolist():
            if value in self._index_of:
                labels[known & (values == value)] = self._index_of[value]
            elif value == value:
                listed = enumerate_names([str(v) for v in sorted(self._index_of)])
                raise LabelsError(
                    f"{self.path} holds the value {value:g}, which is no class ({listed}); "
                    f"{self._rules.fix_of(value)}"
                )
        return labels


def equals(values: np.ndarray, number: float | str) -> np.ndarray:
    """Return which values are a number, as far as their type can hold it.

    A whole number beyond the type, a fraction among whole numbers, or a name is none of them.
    """
    if isinstance(number, str):
        return np.zeros(values.shape, np.bool_)
    if math.isnan(number):
        nothing: np.ndarray = np.isnan(values)
        return nothing
    if not np.issubdtype(values.dtype, np.floating):
        held = np.iinfo(values.dtype)
        if number % 1 or not held.min <= number <= held.max:
            return np.zeros(values.shape, np.bool_)
        number = int(number)
    with np.errstate(over="ignore"):
        same: np.ndarray = values == values.dtype.type(number)
    return same


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
    """Read a window that may reach outside; what lies outside, or is masked, is not known."""
    shape = (int(window.height), int(window.width))
    values = np.zeros(shape, dtype=raster.dtypes[0])
    known = np.zeros(shape, dtype=bool)
    full = Window(0, 0, raster.width, raster.height)
    if intersect(window, full):
        inside = window.intersection(full)
        row, col = int(inside.row_off - window.row_off), int(inside.col_off - window.col_off)
        there = np.s_[row : row + int(inside.height), col : col + int(inside.width)]
        values[there] = raster.read(1, window=inside)
        known[there] = raster.read_masks(1, window=inside) > 0
    return values, known
