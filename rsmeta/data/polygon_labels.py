"""Labels drawn as polygons, burnt into the scene's grid; and the classes of a vector file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.features

from rsmeta.data.label_reader import IGNORE, LabelReader
from rsmeta.errors import LabelsError, did_you_mean, enumerate_names
from rsmeta.geo.footprint import outline
from rsmeta.geo.polygons import VectorFile

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas
    from rasterio.windows import Window

    from rsmeta.data.label_reader import LabelRules
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)


class PolygonLabels(LabelReader):
    """Polygons of any CRS, burnt into a scene's grid where a pixel's centre lies inside.

    Where polygons overlap, the later one in the file wins.

    Args:
        path: GeoPackage, Shapefile, GeoJSON, FlatGeobuf or GeoParquet.
        grid: Grid of the scene that they label.
        rules: Names the class column, the layer, the classes and ignored values.

    Raises:
        LabelsError: The file cannot be read, lacks the column, holds a value that is no class,
            has no CRS, or does not overlap the scene.
    """

    def __init__(self, path: Path, grid: Grid, rules: LabelRules) -> None:
        self.path = path
        self.grid = grid
        frame = VectorFile(path, rules.layer, error=LabelsError).read_onto(grid)
        frame = frame[frame.intersects(outline(grid))].reset_index(drop=True)
        if frame.empty:
            raise LabelsError(f"the polygons {path} do not overlap the scene; check data.labels")
        self._classes = class_of_each(path, frame[class_column(path, frame, rules)], rules)
        self._shapes = frame.geometry

    def read(self, window: Window) -> np.ndarray:
        """Return class indices of the polygons that hold a pixel's centre, (H, W) int64."""
        grid = self.grid.crop(window)
        labels = np.full(grid.shape, IGNORE, dtype=np.int16)
        hits = np.sort(self._shapes.sindex.query(outline(grid)))
        burnt = [
            (self._shapes.iloc[i], int(self._classes[i])) for i in hits if self._classes[i] >= 0
        ]
        if burnt:
            rasterio.features.rasterize(burnt, out=labels, transform=grid.transform)
        return labels.astype(np.int64)


def class_column(path: Path, frame: geopandas.GeoDataFrame, rules: LabelRules) -> str:
    """Return the column of the classes: the one named, else the only one that holds their names."""
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    shown = enumerate_names(columns) or "no columns"
    column = rules.class_column
    if column is None:
        names = {spec.name for spec in rules.classes}
        fitting = [name for name in columns if _holds_only(frame[name], names)]
        if len(fitting) == 1:
            logger.info("%s: the class is read from the column %r", path, fitting[0])
            return fitting[0]
        raise LabelsError(f"{path}: name the class column with data.class_column; it has: {shown}")
    if column not in columns:
        near = did_you_mean(column, columns)
        raise LabelsError(f"{path} has no column {column!r}{near}; it has: {shown}")
    return column


def _holds_only(column: Any, names: set[str]) -> bool:
    """Return whether a column holds these names and nothing else; empty cells do not count."""
    held = set(column.dropna().tolist())
    return bool(held) and held <= names


def class_of_each(path: Path, column: Any, rules: LabelRules) -> np.ndarray:
    """Return the class index of each polygon, by name or by value, (N,) int64."""
    by_name = {spec.name: i for i, spec in enumerate(rules.classes)}
    by_value = {spec.value: i for i, spec in enumerate(rules.classes)}
    classes = np.full(len(column), IGNORE, dtype=np.int64)
    for row, cell in enumerate(column.tolist()):
        number = _whole_number(cell)
        if str(cell) in by_name:
            classes[row] = by_name[str(cell)]
        elif number in by_value:
            classes[row] = by_value[number]
        elif number not in rules.ignore and cell is not None and cell == cell:
            raise LabelsError(
                f"{path}: {column.name}={cell!r} is no class"
                f"{did_you_mean(str(cell), by_name)}; classes: {enumerate_names(list(by_name))}"
            )
    return classes


def _whole_number(cell: Any) -> int | None:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None
