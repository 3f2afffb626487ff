"""Write a few features with columns of their own as a file that appears whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rsmeta.errors import OutputError, one_line
from rsmeta.files import write_atomically
from rsmeta.geo.writer import check_output

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas

#: Files that features can be written to; one file each, so that it appears whole.
SUFFIXES = (".gpkg", ".geojson", ".fgb")

#: Column of the geometries in a GeoPackage.
_GEOMETRY = "geom"
_STYLES = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
  f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
  styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
  owner TEXT(30), ui TEXT(30), update_time DATETIME
)"""


def check_features_output(path: Path, what: str, *, overwrite: bool) -> None:
    """Refuse, before any work, a file that features cannot be written to.

    Args:
        path: The file.
        what: What the features are, as a message calls them.
        overwrite: Replace an existing file.

    Raises:
        OutputError: Its suffix means no vector file, it exists, or its folder cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: {what} go into a file of {', '.join(SUFFIXES)}")
    check_output(path, overwrite=overwrite)


def write_frame(
    path: Path, frame: geopandas.GeoDataFrame, *, layer: str, style: tuple[str, str] | None = None
) -> None:
    """Write features; their column ``class`` holds text.

    Args:
        path: The file, of one of the ``SUFFIXES``.
        frame: The features.
        layer: Name of the layer.
        style: QML and SLD, which a GeoPackage keeps.

    Raises:
        OutputError: The file cannot be written.
    """
    frame["class"] = frame["class"].astype("string")
    try:
        with write_atomically(path) as hidden:
            plain = hidden.with_name(f"features{path.suffix}")  # some names mean something to GDAL
            is_gpkg = path.suffix.lower() == ".gpkg"
            options = {"GEOMETRY_NAME": _GEOMETRY} if is_gpkg else {}
            frame.to_file(plain, layer=layer, **options)
            if style is not None and is_gpkg:
                add_style(plain, layer, _GEOMETRY, style)
            plain.replace(hidden)
    except (OSError, RuntimeError, sqlite3.Error) as error:
        raise OutputError(f"cannot write {path} ({one_line(error)})") from error


def add_style(file: Path, layer: str, geometry: str, style: tuple[str, str]) -> None:
    """Add the style that QGIS applies by itself to a layer of a GeoPackage.

    Args:
        file: The GeoPackage, without styles so far.
        layer: Name of the layer.
        geometry: Name of its column of geometries.
        style: QML and SLD.
    """
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(_STYLES)
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
            "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, owner, "
            "ui, update_time) VALUES ('', '', ?, ?, ?, ?, ?, 1, '', '', '', ?)",
            (layer, geometry, layer, *style, now),
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles', '')"
        )
