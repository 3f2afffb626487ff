"""Labels drawn as polygons or points, burnt into the scene's grid; the classes of a vector file."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.features

from rsmeta.config.data import composed
from rsmeta.data.label_reader import IGNORE, LabelReader
from rsmeta.errors import LabelsError, did_you_mean, enumerate_names
from rsmeta.geo.footprint import outline
from rsmeta.geo.polygons import VectorFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import geopandas
    from rasterio.windows import Window

    from rsmeta.data.label_reader import LabelRules
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)


class PolygonLabels(LabelReader):
    """Polygons and points of any CRS, burnt into a scene's grid.

    A polygon labels the pixels whose centres lie inside, a point the pixel that it lies in; it
    counts as a polygon of that pixel. Where they overlap, the later one in the file wins.

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
        frame = VectorFile(path, rules.layer, error=LabelsError).read_labels_onto(grid)
        frame = frame[frame.intersects(outline(grid))]
        if frame.empty:
            raise LabelsError(f"the polygons {path} do not overlap the scene; check data.labels")
        classes = class_of_each(path, frame[class_column(path, frame, rules)], rules)
        labelled = classes >= 0
        #: The polygons with a class, (P,), in the CRS of the grid; the index is that of the file.
        self.shapes = frame.geometry[labelled]
        #: Their classes, (P,) int64.
        self.classes = classes[labelled]

    def read(self, window: Window) -> np.ndarray:
        """Return class indices of the polygons that hold a pixel's centre, (H, W) int64."""
        owners = self.read_owners(window)
        classes: np.ndarray = np.append(self.classes, IGNORE)[owners]
        return classes

    def read_owners(self, window: Window) -> np.ndarray:
        """Return which polygon labels each pixel, (H, W) int64 in 0..P-1; -1: none."""
        grid = self.grid.crop(window)
        owners = np.full(grid.shape, -1, dtype=np.int32)
        hits = np.sort(self.shapes.sindex.query(outline(grid)))
        burnt = [(self.shapes.iloc[i], int(i)) for i in hits]
        if burnt:
            rasterio.features.rasterize(burnt, out=owners, transform=grid.transform)
        return owners.astype(np.int64)


def class_column(path: Path, frame: geopandas.GeoDataFrame, rules: LabelRules) -> str:
    """Return the column of the classes: the one named, else the only one that holds their names."""
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    shown = enumerate_names(columns) or "no columns"
    column = rules.class_column
    if column is not None:
        if column not in columns:
            near = did_you_mean(column, columns)
            raise LabelsError(f"{path} has no column {column!r}{near}; it has: {shown}")
        return column
    names = _index_by_name(rules)
    named = {one: [_named(cell, names) for cell in _filled(frame[one])] for one in columns}
    whole = [one for one, found in named.items() if found and None not in found]
    # a column with a name and others has an unlisted class, which is said of that column
    fitting = whole or [one for one, found in named.items() if any(i is not None for i in found)]
    if len(fitting) != 1:
        raise LabelsError(f"{path}: name the class column with {rules.column_key}; it has: {shown}")
    logger.info("%s: the class is read from the column %r", path, fitting[0])
    return fitting[0]


def class_of_each(path: Path, column: Any, rules: LabelRules) -> np.ndarray:
    """Return the class index of each polygon, (N,) int64; ``IGNORE`` where the cell is empty.

    All cells of a column are names, or all are values: names such as 1 and 2 may not be the
    values of other classes.
    """
    by_name = _index_by_name(rules)
    by_value: dict[float | None, int] = {spec.value: i for i, spec in enumerate(rules.classes)}
    classes = np.full(len(column), IGNORE, dtype=np.int64)
    filled = {
        row: cell for row, cell in enumerate(column.tolist())
        if not is_empty_cell(cell) and (_named(cell, by_name) is not None
                                    or not {_number(cell), str(cell)} & {*rules.ignore})
    }  # fmt: skip
    names = {row: _named(cell, by_name) for row, cell in filled.items()}
    values = {row: by_value.get(_number(cell)) for row, cell in filled.items()}
    found = min(names, values, key=lambda one: list(one.values()).count(None))
    for row, index in found.items():
        if index is None:
            cell = filled[row]
            raise LabelsError(
                f"{path}: {column.name}={cell!r} is no class{did_you_mean(str(cell), by_name)}; "
                f"classes: {enumerate_names(list(by_name))}; {rules.fix_of(cell)}"
            )
        classes[row] = index
    return classes


def _index_by_name(rules: LabelRules) -> dict[str, int]:
    return {composed(spec.name): i for i, spec in enumerate(rules.classes)}


def _filled(column: Any) -> list[Any]:
    return [cell for cell in column.tolist() if not is_empty_cell(cell)]


def is_empty_cell(cell: Any) -> bool:
    """Return whether a cell holds nothing: NULL in any form, or blanks."""
    if isinstance(cell, str):
        return not cell.strip()
    import pandas

    return bool(pandas.api.types.is_scalar(cell) and pandas.isna(cell))


def _named(cell: Any, names: Mapping[str, int]) -> int | None:
    """Return the index of the class that a cell names; whole numbers are written without point.

    A column of whole numbers with an empty cell comes as 1.0, 2.0, …
    """
    text = composed(str(cell).strip())
    if text in names:
        return names[text]
    number = None if isinstance(cell, str) else _number(cell)
    return names.get(str(int(number))) if number is not None and number % 1 == 0 else None


def _number(cell: Any) -> float | None:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
