"""Labels drawn as polygons, burnt into the scene's grid; and the classes of a vector file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pyproj
import rasterio.features
import shapely

from rsmeta.data.label_reader import IGNORE, LabelReader
from rsmeta.data.splits import outline
from rsmeta.errors import LabelsError, did_you_mean, enumerate_names, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from rasterio.windows import Window

    from rsmeta.data.label_reader import LabelRules
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)

VECTOR_SUFFIXES = frozenset({".gpkg", ".shp", ".geojson", ".json", ".fgb", ".parquet"})


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
        frame = _polygons_on(path, rules.layer, grid)
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


def read_vector(path: Path, layer: str | None = None) -> geopandas.GeoDataFrame:
    """Read a vector file of any geometries.

    Raises:
        LabelsError: It cannot be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            frame = geopandas.read_parquet(path)
        else:
            frame = geopandas.read_file(path, layer=layer)
    except (OSError, RuntimeError, ValueError) as error:
        raise LabelsError(
            f"cannot read {path} as polygons or points ({one_line(error)})"
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise LabelsError(f"{path} holds a table without geometries; give polygons")
    return frame[frame.geometry.notna() & ~frame.geometry.is_empty].reset_index(drop=True)


def read_polygons(path: Path, layer: str | None = None) -> geopandas.GeoDataFrame:
    """Read the polygons of a vector file.

    Raises:
        LabelsError: It cannot be read, or holds no polygon.
    """
    frame = read_vector(path, layer)
    flat = frame.geom_type.isin(["Polygon", "MultiPolygon"])
    if not flat.any():
        raise LabelsError(f"{path} holds no polygon; labels must be polygons or a raster")
    if not flat.all():
        logger.warning("%s: %d geometries are no polygons and are left out", path, (~flat).sum())
    frame = frame[flat].reset_index(drop=True)
    frame.geometry = shapely.make_valid(frame.geometry.to_numpy())
    return frame


def _polygons_on(path: Path, layer: str | None, grid: Grid) -> geopandas.GeoDataFrame:
    """Read polygons into the CRS of a grid, those that reach it only."""
    frame = read_polygons(path, layer)
    if (frame.crs is None) != (grid.crs is None):
        which = path if frame.crs is None else "the scene"
        raise LabelsError(f"{which} has no CRS, so {path} cannot be laid over the scene; add one")
    if grid.crs is not None:
        frame = frame.to_crs(pyproj.CRS.from_user_input(grid.crs.to_wkt()))
    near = frame.intersects(outline(grid))
    if not near.any():
        raise LabelsError(f"the polygons {path} do not overlap the scene; check data.labels")
    return frame[near].reset_index(drop=True)


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
