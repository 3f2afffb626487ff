"""Polygons of vector files, for areas of interest, labels and splits alike.

They are read, mended, and laid over a grid here and nowhere else.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rsmeta.errors import (
    GridMismatchError,
    RsmetaError,
    did_you_mean,
    enumerate_names,
    one_line,
)
from rsmeta.geo.footprint import mended
from rsmeta.geo.reprojection import onto_grid, pixels_of_points

if TYPE_CHECKING:
    from collections.abc import Callable

    import geopandas
    from numpy.typing import NDArray

    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)

VECTOR_SUFFIXES = frozenset({".gpkg", ".shp", ".geojson", ".json", ".fgb", ".parquet"})
#: Geometries that are points alone.
POINTS = frozenset({"Point", "MultiPoint"})
_COLLECTIONS = (shapely.GeometryType.GEOMETRYCOLLECTION, shapely.GeometryType.MULTIPOLYGON)


class VectorFile:
    """A vector file, or one layer of it.

    Args:
        place: The file; ``FILE|layername=NAME``, as QGIS writes it, names a layer too.
        layer: The layer; none: the only one.
        error: Class of the error where the file cannot be used.
    """

    def __init__(
        self, place: str | Path, layer: str | None = None, *, error: type[RsmetaError]
    ) -> None:
        self.path, named = _split(place)
        self._layer = layer or named
        self._error = error

    @property
    def is_vector(self) -> bool:
        """Whether the file's name is one of a vector file."""
        return self.path.suffix.lower() in VECTOR_SUFFIXES

    def read(self) -> geopandas.GeoDataFrame:
        """Read all geometries that are not empty.

        Raises:
            RsmetaError: It cannot be read, or holds several layers and none is named.
        """
        import geopandas  # slow to import, and few maps need it

        if not self.path.exists():
            raise self._error(f"no polygons at {self.path}; check the path")
        try:
            if self.path.suffix.lower() == ".parquet":
                frame = geopandas.read_parquet(self.path)
            else:
                frame = geopandas.read_file(self.path, layer=self._chosen_layer())
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            raise self.unreadable(error) from error
        if not isinstance(frame, geopandas.GeoDataFrame):
            raise self._error(f"{self.path} holds a table without geometries; give polygons")
        return frame[frame.geometry.notna() & ~frame.geometry.is_empty].reset_index(drop=True)

    def unreadable(self, error: Exception) -> RsmetaError:
        """Return the error of a file that GDAL cannot read, without its advice on drivers."""
        why = one_line(error).partition("; It might help")[0]
        fix = "is it complete?" if self.is_vector else "give a GeoPackage, Shapefile or GeoJSON"
        return self._error(f"cannot read {self.path} as polygons or points ({why}); {fix}")

    def read_polygons(self) -> geopandas.GeoDataFrame:
        """Read polygons, each made valid; whatever else a geometry holds is left out.

        The index says which of the file's geometries they are.

        Raises:
            RsmetaError: As of ``read``; or it holds no polygon.
        """
        return self._only_polygons(self.read())

    def read_onto(self, grid: Grid) -> geopandas.GeoDataFrame:
        """Read what of the polygons lies on a grid, or close by, in its CRS.

        Raises:
            RsmetaError: As of ``read_polygons``; or only one of file and grid has a CRS.
        """
        return self._onto(self.read_polygons(), grid)

    def read_labels_onto(self, grid: Grid) -> geopandas.GeoDataFrame:
        """Read polygons and points onto a grid, as ``read_onto``; a point is the pixel it lies in.

        Raises:
            RsmetaError: As of ``read``; it holds neither polygons nor points; or only one of file
                and grid has a CRS.
        """
        frame = self.read()
        pointed = frame.geom_type.isin(POINTS)
        if not pointed.any():
            return self._onto(self._only_polygons(frame, "polygons or points"), grid)
        pixels = self._onto(frame[pointed], grid, to_areas=pixels_of_points)
        if pointed.all():
            return pixels
        rest = frame[~pointed]
        polygons = rest.set_geometry(_polygons_of(rest.geometry.to_numpy()))
        flat = self._onto(polygons[~polygons.is_empty], grid)
        import pandas

        both: geopandas.GeoDataFrame = pandas.concat([flat, pixels]).sort_index()
        return both

    def _only_polygons(
        self, frame: geopandas.GeoDataFrame, wanted: str = "polygons"
    ) -> geopandas.GeoDataFrame:
        """Return the polygons of a frame, valid and flat."""
        polygons = _polygons_of(frame.geometry.to_numpy())
        flat = ~shapely.is_empty(polygons)
        if not flat.any():
            raise self._error(f"{self.path} holds no {wanted}; give {wanted}")
        if not flat.all():
            logger.warning(
                "%s: %d of %d geometries are not polygons, or have no area, and are ignored",
                self.path, (~flat).sum(), len(flat),
            )  # fmt: skip
        frame.geometry = polygons
        return frame[flat]

    def _onto(
        self,
        frame: geopandas.GeoDataFrame,
        grid: Grid,
        to_areas: Callable[[NDArray[Any], Any, Grid], NDArray[Any]] = onto_grid,
    ) -> geopandas.GeoDataFrame:
        """Return what of a frame lies on a grid, or close by, as areas in its CRS."""
        if (frame.crs is None) != (grid.crs is None):
            lacks, has = (self.path, "the scene") if frame.crs is None else ("the scene", self.path)
            tool = "ogr2ogr" if frame.crs is None else "gdal_edit.py"
            raise self._error(
                f"{lacks} has no CRS and {has} has one, so they cannot be laid over each other; "
                f"add it, e.g. with {tool} -a_srs EPSG:…"
            )
        try:
            areas = to_areas(frame.geometry.to_numpy(), frame.crs, grid)
        except GridMismatchError as error:
            raise self._error(f"{self.path} cannot be laid over the scene: {error}") from error
        near = ~shapely.is_empty(areas)
        crs = None if grid.crs is None else grid.crs.to_wkt()
        return frame.set_geometry(areas, crs=crs)[near]

    def _chosen_layer(self) -> str | None:
        import pyogrio

        layers = [str(name) for name, kind in pyogrio.list_layers(self.path) if kind is not None]
        listed = enumerate_names(layers)
        if self._layer is not None and self._layer not in layers:
            near = did_you_mean(self._layer, layers)
            raise self._error(f"{self.path} has no layer {self._layer!r}{near}; it has: {listed}")
        if self._layer is None and len(layers) > 1:
            raise self._error(
                f"{self.path} has several layers: {listed}; name one: "
                f"'{self.path}|layername={layers[0]}'"
            )
        return self._layer


def _split(place: str | Path) -> tuple[Path, str | None]:
    text = str(place)
    if "|" not in text or Path(text).exists():
        return Path(text).expanduser(), None
    file, *options = text.split("|")
    named = [option.partition("=")[2] for option in options if option.startswith("layername=")]
    return Path(file).expanduser(), named[0] if named else None


def _polygons_of(geometries: NDArray[Any]) -> NDArray[Any]:
    """Return the polygons of each geometry, valid and flat; empty where it holds none."""
    parts, owner = shapely.get_parts(shapely.force_2d(geometries), return_index=True)
    while np.isin(shapely.get_type_id(parts), _COLLECTIONS).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        owner = owner[inner]
    flat = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    flat &= np.isfinite(shapely.bounds(parts)).all(axis=1)
    result = np.full(len(geometries), shapely.Polygon())
    shapely.multipolygons(parts[flat], indices=owner[flat], out=result)
    polygons: NDArray[Any] = mended(result)
    return polygons
