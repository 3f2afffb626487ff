"""Labels as TorchGeo datasets: rasters or polygons become class indices on the scene's grid.

A label is an index into the class list, or ``IGNORE`` where nobody said what is there.
"""

from __future__ import annotations

import abc
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pyproj
import rasterio
import rasterio.features
import shapely
import torch
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window, intersect

from rsmeta.data.splits import to_crs
from rsmeta.data.torchgeo_compat import (
    GeoSlice,
    RasterDataset,
    VectorDataset,
    footprint_index,
    query_bounds,
)
from rsmeta.errors import LabelsError, did_you_mean, enumerate_names, one_line

if TYPE_CHECKING:
    from rsmeta.config.data import ClassSpec
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)

#: Label of a pixel that nobody labelled; losses and metrics leave it out.
IGNORE = -1

VECTOR_SUFFIXES = frozenset({".gpkg", ".shp", ".geojson", ".json", ".fgb", ".parquet"})


@dataclass(frozen=True)
class LabelRules:
    """What the values of a label file mean.

    Attributes:
        classes: The classes; a label is an index into them.
        ignore: Values that mean "no label".
        class_column: Column of polygons that holds class name or value; none: the only column
            that holds class names and nothing else.
        layer: Layer of a vector file; none: the first.
    """

    classes: tuple[ClassSpec, ...]
    ignore: tuple[int, ...] = ()
    class_column: str | None = None
    layer: str | None = None


class LabelReader(abc.ABC):
    """Reads labels on one scene's grid; shared by rasters and polygons.

    Attributes:
        grid: The scene's grid, which the labels are read on.
    """

    grid: Grid

    @abc.abstractmethod
    def read(self, grid: Grid) -> np.ndarray:
        """Return class indices, (H, W) int64, ``IGNORE`` where there is no label."""

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return what is counted of labels, (H, W) int64: the class, ``IGNORE`` without label."""
        return labels

    def _sample(self, query: GeoSlice) -> dict[str, Any]:
        window = self.grid.window(query_bounds(self, query))
        return {"mask": torch.from_numpy(self.read(self.grid.crop(window)))}


class RasterLabels(LabelReader, RasterDataset):
    """A label raster on a scene's grid; a raster on another grid is warped by nearest neighbour.

    Args:
        path: The label raster, one band.
        grid: Grid of the scene that it labels.
        rules: Classes and ignored values; the raster's own nodata value is ignored too.

    Raises:
        LabelsError: The file cannot be read, does not overlap the scene, or holds a value that
            is neither a class nor ignored.
    """

    is_image = False

    def __init__(self, path: Path, grid: Grid, rules: LabelRules) -> None:
        self.paths = str(path)
        self.grid = grid
        self.transforms = None
        self._res = grid.pixel_size
        self._index_of = {spec.value: i for i, spec in enumerate(rules.classes)}
        self._ignored = set(rules.ignore)
        with _opened(path) as raster:
            if raster.nodata is not None and float(raster.nodata).is_integer():
                self._ignored.add(int(raster.nodata))
            here = shapely.box(*grid.bounds)
            there = _footprint(raster, grid)
            aligned = raster.crs == grid.crs and raster.transform.almost_equals(grid.transform)
        self._aligned = aligned
        if not here.intersects(there) or here.intersection(there).area == 0:
            raise LabelsError(f"the labels {path} do not overlap the scene; check data.labels")
        if not aligned:
            logger.info("labels %s lie on another grid; read by nearest neighbour", path)
        self.index = footprint_index(grid, None, str(path))

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return ``mask`` (H, W) int64 of a TorchGeo query."""
        return self._sample(query)

    def read(self, grid: Grid) -> np.ndarray:
        """Return class indices of the raster, (H, W) int64, by nearest neighbour."""
        with _opened(Path(str(self.paths))) as raster:
            window = self.grid.window(grid.bounds)
            try:
                if self._aligned:
                    values, known = _read_padded(raster, window)
                else:
                    crs = grid.crs or raster.crs
                    with WarpedVRT(
                        raster, crs=crs, transform=grid.transform, width=grid.width_px,
                        height=grid.height_px, resampling=Resampling.nearest, add_alpha=True,
                    ) as warped:  # fmt: skip
                        values, known = warped.read(1), warped.read(warped.count) > 0
            except RasterioError as error:
                raise LabelsError(f"cannot read {self.paths} ({one_line(error)})") from error
        return self._to_labels(values, known)

    def _to_labels(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        labels = np.full(values.shape, IGNORE, dtype=np.int64)
        for value in np.unique(values[known]).tolist():
            if value in self._index_of:
                labels[known & (values == value)] = self._index_of[value]
            elif value not in self._ignored and value == value:
                listed = enumerate_names([str(v) for v in sorted(self._index_of)])
                raise LabelsError(
                    f"{self.paths} holds the value {value:g}, which is no class ({listed}); "
                    f"add it to data.classes or to data.ignore"
                )
        return labels


class PolygonLabels(LabelReader, VectorDataset):
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
        self.paths = str(path)
        self.grid = grid
        self.transforms = None
        self.label_name = rules.class_column
        self.layer = rules.layer
        self.task = "semantic_segmentation"
        self._res = grid.pixel_size
        frame = _polygons_on(path, rules.layer, grid)
        column = class_column(path, frame, rules)
        self._classes = class_of_each(path, frame[column], rules)
        self._shapes = frame.geometry
        self.index = footprint_index(grid, None, str(path))

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return ``mask`` (H, W) int64 of a TorchGeo query."""
        return self._sample(query)

    def read(self, grid: Grid) -> np.ndarray:
        """Return class indices of the polygons that hold a pixel's centre, (H, W) int64."""
        labels = np.full((grid.height_px, grid.width_px), IGNORE, dtype=np.int16)
        hits = np.sort(self._shapes.sindex.query(shapely.box(*grid.bounds)))
        burnt = [
            (self._shapes.iloc[i], int(self._classes[i])) for i in hits if self._classes[i] >= 0
        ]
        if burnt:
            rasterio.features.rasterize(burnt, out=labels, transform=grid.transform)
        return labels.astype(np.int64)


def open_labels(path: Path, grid: Grid, rules: LabelRules) -> RasterLabels | PolygonLabels:
    """Open a label file on a scene's grid: polygons by the file's suffix, else a raster.

    Raises:
        LabelsError: See ``RasterLabels`` and ``PolygonLabels``.
    """
    if not path.exists():
        raise LabelsError(f"no labels at {path}; check data.root and data.labels")
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return PolygonLabels(path, grid, rules)
    return RasterLabels(path, grid, rules)


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
    near = frame.intersects(shapely.box(*grid.bounds))
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


def _footprint(raster: rasterio.DatasetReader, grid: Grid) -> shapely.Geometry:
    return to_crs(shapely.box(*raster.bounds), raster.crs, grid.crs)


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
