"""Class maps as polygons: one per region, in a file that a GIS takes as it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from pyarrow.lib import ArrowException
from pyogrio.errors import DataLayerError, DataSourceError

from rsmeta.config.polygons import PolygonSettings
from rsmeta.errors import OutputError, enumerate_names, one_line
from rsmeta.files import partial_folder, to_disk
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.inputs import check_not_an_input, raster_files
from rsmeta.geo.lock import locked
from rsmeta.geo.raster_source import is_path
from rsmeta.geo.writer import check_output, why_not_written
from rsmeta.gis.outputs.products import check_polygon_place
from rsmeta.gis.progress import no_progress
from rsmeta.gis.vector.files import FORMATS, Target, columns_of, layer_name
from rsmeta.gis.vector.polygons import ClassMap, Polygons, open_map, polygons_of

if TYPE_CHECKING:
    from rsmeta.gis.progress import OnProgress

__all__ = ["FORMATS", "ClassMap", "Polygons", "open_map", "polygons_of", "vectorise", "write"]

_WRITE_ERRORS = (
    DataSourceError,
    DataLayerError,
    ArrowException,
    OSError,
    RuntimeError,
    sqlite3.Error,
)


def write(
    source: ClassMap, path: Path, settings: PolygonSettings, on_progress: OnProgress = no_progress
) -> None:
    """Write the polygons of a map into a new file, which is no file until all are in it.

    Args:
        source: The map.
        path: The file; its ending says the format.
        settings: How outlines are drawn.
        on_progress: Called as the map is gone through.

    Raises:
        OSError: The file cannot be written.
        OutputError: The format is none of ours.
        SceneError: The map cannot be read.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"{path}: no format of polygons has this ending; use {enumerate_names(list(FORMATS))}"
        )
    columns = columns_of(
        has_area=source.grid.crs is not None, has_confidence=source.confidence is not None
    )
    plain = path.with_name(f"polygons{path.suffix}")  # some names mean something to GDAL
    crs = None if source.grid.crs is None else source.grid.crs.to_wkt()
    target = Target(plain, layer_name(path.stem), source.grid, source.classes, columns, crs)
    try:
        FORMATS[path.suffix.lower()].write(target, polygons_of(source, settings, on_progress))
        to_disk(plain)
        plain.replace(path)
    except _WRITE_ERRORS as error:
        raise OSError(one_line(error)) from error


def vectorise(
    source: str | Path,
    output: str | Path,
    *,
    confidence: str | Path | None = None,
    settings: PolygonSettings | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write a finished class map as polygons.

    Args:
        source: A map that ``rsmeta.predict`` wrote.
        output: ``.gpkg`` (with its style), ``.parquet``, ``.fgb`` or ``.geojson`` (degrees).
        confidence: The map's confidence; its mean over each polygon becomes a column.
        settings: Smallest area, simplification, smoothing.
        overwrite: Replace a file of that name.
        on_progress: Called with the share of the work that is done, 0 to 1.

    Returns:
        The file.

    Raises:
        SceneError: The map cannot be read, or does not name its classes.
        OutputError: The file cannot be written.
    """
    if not is_path(output):
        raise OutputError(f"cannot write polygons to {output}; name a local file, and copy that")
    path = Path(output)
    inputs = raster_files(source) | (set() if confidence is None else raster_files(confidence))
    check_not_an_input([path], inputs)
    check_output(path, overwrite=overwrite)
    opened = open_map(source, confidence)
    check_polygon_place(path, opened.grid)
    folder = partial_folder(path)
    with bounded_cache(), locked(folder, path):
        try:
            _empty(folder)
            write(
                opened,
                folder / path.name,
                settings or PolygonSettings(),
                on_progress or no_progress,
            )
            os.replace(folder / path.name, path)  # noqa: PTH105 - as atomic as the system has it
        except OSError as error:
            raise OutputError(why_not_written(path, error)) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return path


def _empty(folder: Path) -> None:
    """Remove what a call left that was killed; a journal of SQLite would act on the new file."""
    for file in folder.iterdir():
        if file.name != "lock":
            file.unlink()
