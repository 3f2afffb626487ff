"""Describe vector files, and folders of rasters and vector files."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

import pandas
import shapely

from rsmeta.errors import LabelsError, RsmetaError, SceneNotFoundError, counted
from rsmeta.geo.grid import Grid
from rsmeta.geo.handles import open_raster
from rsmeta.geo.polygons import VECTOR_SUFFIXES, VectorFile
from rsmeta.geo.sources import SUFFIXES
from rsmeta.workflows.init.polygon_guesses import likely_column

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas

#: A column with more distinct values than this does not hold classes.
_MOST_CLASSES = 64

#: Equal areas over the whole Earth: EASE-Grid 2.0.
_EQUAL_AREA = "EPSG:6933"


def inspect_folder(folder: Path) -> dict[str, Any]:
    """Describe a folder: its rasters and vector files, a row each.

    Raises:
        SceneNotFoundError: It holds neither.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    rows = [_row(path) for path in files if path.suffix.lower() in (*SUFFIXES, *VECTOR_SUFFIXES)]
    if not rows:
        raise SceneNotFoundError(folder)
    return {"kind": "folder", "path": str(folder), "files": rows,
            "next": "rsmeta inspect FILE says more of each; rsmeta init SCENE... LABELS uses "
            "them"}  # fmt: skip


def _row(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"file": path.name, "megabytes": round(path.stat().st_size / 1e6, 3)}
    try:
        if path.suffix.lower() in VECTOR_SUFFIXES:
            layers = inspect_vector(path)["layers"] if is_vector(path) else []
            features = sum(layer["features"] for layer in layers)
            holds = f"{counted(features, 'feature')} in {counted(len(layers), 'layer')}"
            return {**found, "holds": holds, "crs": layers[0]["crs"] if layers else None}
        raster = open_raster(path)
        grid = Grid(raster.crs or None, raster.transform, raster.height, raster.width)
        return {
            **found,
            "holds": f"{counted(raster.count, 'band')} of {raster.dtypes[0]}, {raster.width:,} x "
            f"{raster.height:,} px",
            "crs": None if grid.crs is None else grid.crs.to_string(),
            "gsd_m": grid.gsd_m,
        }
    except RsmetaError as error:
        why = str(error).replace(str(path), path.name)
        return {**found, "holds": f"unreadable: {textwrap.shorten(why, 70, placeholder='…')}"}


def is_vector(path: str | Path) -> bool:
    """Return whether a path is a vector file, and no STAC document."""
    file = VectorFile(path, error=LabelsError)
    if not (file.is_vector and file.path.is_file()):
        return False
    if file.path.suffix.lower() not in (".json", ".geojson"):
        return True
    try:
        tree = json.loads(file.path.read_bytes())
    except ValueError:
        tree = None
    parts = [tree, *tree.get("features", [])[:1]] if isinstance(tree, dict) else []
    keys = {key for part in parts if isinstance(part, dict) for key in part}
    if file.path.suffix.lower() == ".json":  # what is neither, the reader of STAC items refuses
        return bool(keys & {"geometry", "geometries", "coordinates"}) and "assets" not in keys
    return not keys & {"assets", "stac_version"}


def inspect_vector(path: str | Path) -> dict[str, Any]:
    """Describe a vector file: its layers, their columns, and the values that may be classes.

    Raises:
        LabelsError: It cannot be read.
    """
    import pyogrio

    vector = VectorFile(path, error=LabelsError)
    file = vector.path
    names: list[str | None] = [None]
    if str(path) == str(file) and file.suffix.lower() != ".parquet":
        try:
            names = [str(name) for name, kind in pyogrio.list_layers(file) if kind is not None]
        except (OSError, RuntimeError, ValueError) as error:
            raise vector.unreadable(error) from error
    layers = [
        _layer(name or file.stem, VectorFile(path, name, error=LabelsError).read())
        for name in names
    ]
    return {"kind": "vector", "path": str(path), "layers": layers}


def _layer(name: str, frame: Any) -> dict[str, Any]:
    columns = [str(column) for column in frame.columns if column != frame.geometry.name]
    found: dict[str, Any] = {
        "name": name,
        "features": len(frame),
        "geometry": sorted(set(frame.geom_type)),
        "crs": None if frame.crs is None else frame.crs.to_string(),
        "bounds": [] if frame.empty else [float(n) for n in frame.total_bounds],
        "columns": {},
    }
    for column in columns:
        counts = frame[column].value_counts(dropna=False)
        entry: dict[str, Any] = {"type": str(frame[column].dtype), "distinct": len(counts)}
        if len(counts) <= _MOST_CLASSES:
            entry["values"] = {
                "(empty)" if value is None or value != value else str(value): int(count)
                for value, count in counts.items()
            }
        found["columns"][column] = entry
    return {**found, **_problems(frame), **_classes(frame)}


def _problems(frame: geopandas.GeoDataFrame) -> dict[str, Any]:
    """Return how many geometries are invalid, and the commonest reason, without the place."""
    shapes = frame.geometry.to_numpy()
    broken = shapes[~shapely.is_valid(shapes)]
    reasons = Counter(reason.partition("[")[0] for reason in shapely.is_valid_reason(broken))
    said = (
        f"{len(broken)} ({reasons.most_common(1)[0][0]}); mended when read" if reasons else "none"
    )
    return {"invalid_geometries": said}


def _classes(frame: geopandas.GeoDataFrame) -> dict[str, Any]:
    """Return features and area of each class in the column that looks most like classes."""
    column = likely_column(frame)
    if column is None:
        return {}
    placed = frame.geometry if frame.crs is None else frame.geometry.to_crs(_EQUAL_AREA)
    areas = pandas.Series(shapely.area(placed.to_numpy()), frame.index)
    unit = "area" if frame.crs is None else "area_m2"
    rows = [
        {
            "class": str(name).strip() or "(empty)",
            "features": len(own),
            unit: float(areas.loc[own.index].sum()),
        }
        for name, own in frame.groupby(column)
    ]
    return {"class_column_guess": str(column), "classes": rows}
