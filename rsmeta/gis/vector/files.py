"""Write polygons as GeoPackage, GeoParquet, FlatGeobuf or GeoJSON, portion by portion."""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyogrio
import pyproj
import shapely
from pyarrow import parquet

from rsmeta.geo.footprint import WGS84
from rsmeta.gis.vector.degrees import in_degrees
from rsmeta.gis.vector.frames import add_style
from rsmeta.gis.vector.style import qml_text, sld_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from rsmeta.config.data import ClassSpec
    from rsmeta.geo.grid import Grid
    from rsmeta.gis.vector.polygons import Polygons

GEOMETRY = "geometry"
#: Column with the name of the class.
CLASS = "class"
#: Names of system tables of GeoPackage and SQLite begin with these.
_RESERVED = re.compile(r"gpkg|sqlite|rtree|ogr|layer_styles|idx", re.IGNORECASE)
_COVERING = ("xmin", "ymin", "xmax", "ymax")
# Arrow counts the bytes of a column's portion in 31 bits.
_MOST_POINTS = 50_000_000


class Target(NamedTuple):
    """What a file of polygons is like.

    Attributes:
        path: The file.
        layer: Name of its layer.
        grid: Grid of the map.
        classes: What the values mean.
        columns: Its columns but those of geometry.
        crs: CRS of the polygons; none: they have none.
    """

    path: Path
    layer: str
    grid: Grid
    classes: Sequence[ClassSpec]
    columns: pa.Schema
    crs: str | None


def layer_name(stem: str) -> str:
    """Return a layer name that every format accepts, as close to a file name as can be.

    GeoPackage layers must not begin with a special character or with the name of a system table.
    """
    plain = re.sub(r"[^\w .+-]+", "_", unicodedata.normalize("NFC", stem))
    plain = re.sub(r"^\W+|[\W_]+$", "", plain) or "map"
    return f"map_{plain}" if _RESERVED.match(plain) else plain


def columns_of(*, has_area: bool, has_confidence: bool) -> pa.Schema:
    """Return the columns of polygons, but those of geometry."""
    known = {
        CLASS: pa.string(), "value": pa.int32(), "pixels": pa.int64(), "area_m2": pa.float64(),
        "confidence": pa.float64(),
    }  # fmt: skip
    left_out = {"area_m2": not has_area, "confidence": not has_confidence}
    return pa.schema([(name, kind) for name, kind in known.items() if not left_out.get(name)])


def write_gpkg(target: Target, portions: Iterable[Polygons]) -> None:
    """Write a GeoPackage with a style that QGIS takes by itself."""
    count = _write_by_gdal(target, portions, "GPKG", {"GEOMETRY_NAME": "geom"})
    style = qml_text(target.classes, CLASS), sld_text(target.classes, CLASS, target.layer)
    add_style(target.path, target.layer, "geom", style)
    _check_count(target, count)


def write_fgb(target: Target, portions: Iterable[Polygons]) -> None:
    """Write a FlatGeobuf with an index of places."""
    _check_count(target, _write_by_gdal(target, portions, "FlatGeobuf", {}))


def write_geojson(target: Target, portions: Iterable[Polygons]) -> None:
    """Write a GeoJSON in degrees of WGS 84.

    Source: RFC 7946.
    """
    placed = target._replace(crs=WGS84)
    moved = (one._replace(shapes=in_degrees(one.shapes, target.grid)) for one in portions)
    _check_count(target, _write_by_gdal(placed, moved, "GeoJSON", {"RFC7946": "YES"}))


def write_parquet(target: Target, portions: Iterable[Polygons]) -> None:
    """Write a GeoParquet with the envelope of each polygon.

    Source: GeoParquet 1.1.0.
    """
    corners = pa.struct([(name, pa.float64()) for name in _COVERING])
    schema = target.columns.append(pa.field(GEOMETRY, pa.binary())).append(
        pa.field("bbox", corners)
    )
    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    # Without Arrow's own schema readers see what is added at the end.
    with parquet.ParquetWriter(
        target.path, schema, compression="zstd", store_schema=False
    ) as writer:
        for portion in _bounded(portions):
            around = shapely.bounds(portion.shapes)
            bounds[:2] = np.minimum(bounds[:2], around[:, :2].min(axis=0))
            bounds[2:] = np.maximum(bounds[2:], around[:, 2:].max(axis=0))
            envelope = pa.StructArray.from_arrays(list(around.T.copy()), fields=list(corners))
            arrays = [*_arrays(target, portion), pa.array(shapely.to_wkb(portion.shapes)), envelope]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        writer.add_key_value_metadata({"geo": json.dumps(_geo(target, bounds))})


def _geo(target: Target, bounds: np.ndarray) -> dict[str, Any]:
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None if target.crs is None else pyproj.CRS(target.crs).to_json_dict(),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": {name: ["bbox", name] for name in _COVERING}},
    }
    if np.isfinite(bounds).all():
        column["bbox"] = bounds.tolist()
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


class Format(NamedTuple):
    """A format of polygons.

    Attributes:
        write: Writes a file.
        media_type: As IANA lists it.
    """

    write: Callable[[Target, Iterable[Polygons]], None]
    media_type: str


FORMATS = {
    ".gpkg": Format(write_gpkg, "application/geopackage+sqlite3"),
    ".parquet": Format(write_parquet, "application/vnd.apache.parquet"),
    ".fgb": Format(write_fgb, "application/vnd.flatgeobuf"),
    ".geojson": Format(write_geojson, "application/geo+json"),
}


def _write_by_gdal(
    target: Target, portions: Iterable[Polygons], driver: str, options: dict[str, str]
) -> int:
    """Write polygons as GDAL pulls them; return how many.

    Raises:
        Exception: As the portions raise it, or one of pyogrio.
    """
    schema = target.columns.append(pa.field(GEOMETRY, pa.binary()))
    geometry_type = "Unknown" if driver == "GeoJSON" else "Polygon"
    given = 0
    raised: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal given
        try:
            for portion in _bounded(portions):
                arrays = [*_arrays(target, portion), pa.array(shapely.to_wkb(portion.shapes))]
                given += len(portion.shapes)
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except BaseException as error:  # GDAL would pass on its text alone
            raised.append(error)
            raise

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(schema, batches()), target.path,
                layer=target.layer, driver=driver, geometry_name=GEOMETRY,
                geometry_type=geometry_type, crs=target.crs,
                layer_options=options,
            )  # fmt: skip
    finally:
        if raised:
            raise raised[0]
    return given


def _bounded(portions: Iterable[Polygons]) -> Iterator[Polygons]:
    """Split portions so that their points fit one batch."""
    for portion in portions:
        total = np.cumsum(shapely.get_num_coordinates(portion.shapes))
        steps = np.searchsorted(total, np.arange(_MOST_POINTS, total[-1], _MOST_POINTS))
        for part in np.split(np.arange(len(total)), np.unique(steps)):
            if len(part):
                yield portion.take(part)


def _arrays(target: Target, portion: Polygons) -> list[pa.Array]:
    names = {spec.value: spec.name for spec in target.classes}
    columns = {
        CLASS: [names[value] for value in portion.value.tolist()],
        "value": portion.value, "pixels": portion.pixels, "area_m2": portion.area_m2,
        "confidence": portion.confidence,
    }  # fmt: skip
    return [
        pa.array(columns[field.name], type=field.type, from_pandas=True) for field in target.columns
    ]


def _check_count(target: Target, count: int) -> None:
    """Read back how many polygons there are: a disk that fills up may go unnoticed.

    Raises:
        OSError: Some are missing.
    """
    found = pyogrio.read_info(target.path, layer=target.layer, force_feature_count=True)["features"]
    if found != count:
        raise OSError(f"{found} of {count} polygons arrived in the file")
