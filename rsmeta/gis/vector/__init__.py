"""Class maps as polygons: one per region, in a file that a GIS takes as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pyarrow.lib import ArrowException
from pyogrio.errors import DataLayerError, DataSourceError

from rsmeta.config.polygons import PolygonSettings
from rsmeta.errors import OutputError, enumerate_names, one_line
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.lock import locked
from rsmeta.geo.writer import check_output, partial_folder
from rsmeta.gis.vector.files import FORMATS, Target, columns_of
from rsmeta.gis.vector.polygons import ClassMap, Polygons, open_map, polygons_of

__all__ = ["FORMATS", "ClassMap", "Polygons", "open_map", "polygons_of", "vectorise", "write"]

_WRITE_ERRORS = (DataSourceError, DataLayerError, ArrowException, OSError, RuntimeError)


def write(source: ClassMap, path: Path, settings: PolygonSettings) -> None:
    """Write the polygons of a map into a new file, which is no file until all are in it.

    Args:
        source: The map.
        path: The file; its ending says the format.
        settings: How outlines are drawn.

    Raises:
        OutputError: The format is none of ours, or the file cannot be written.
        SceneError: The map cannot be read.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"{path}: no format of polygons has this ending; use {enumerate_names(list(FORMATS))}"
        )
    columns = columns_of(
        has_area=source.grid.crs is not None, has_confidence=source.confidence is not None
    )
    target = Target(path, path.stem, source.grid, source.classes, columns)
    try:
        FORMATS[path.suffix.lower()].write(target, polygons_of(source, settings))
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except _WRITE_ERRORS as error:
        raise OutputError(
            f"cannot write polygons to {path.name} ({one_line(error)}); is there room on the disk?"
        ) from error


def vectorise(
    source: str | Path,
    output: str | Path,
    *,
    confidence: str | Path | None = None,
    settings: PolygonSettings | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a finished class map as polygons.

    Args:
        source: A map that ``rsmeta.predict`` wrote.
        output: ``.gpkg`` (with its style), ``.parquet``, ``.fgb`` or ``.geojson`` (degrees).
        confidence: The map's confidence; its mean over each polygon becomes a column.
        settings: Smallest area, simplification, smoothing.
        overwrite: Replace a file of that name.

    Returns:
        The file.

    Raises:
        SceneError: The map cannot be read, or does not name its classes.
        OutputError: The file cannot be written.
    """
    path = Path(output)
    check_output(path, overwrite=overwrite)
    folder = partial_folder(path)
    with bounded_cache(), locked(folder, path):
        try:
            opened = open_map(source, confidence)
            (folder / path.name).unlink(missing_ok=True)
            write(opened, folder / path.name, settings or PolygonSettings())
            os.replace(folder / path.name, path)  # noqa: PTH105 - as atomic as the system has it
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return path
