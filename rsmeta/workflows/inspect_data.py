"""Describe raster and vector files: scenes, maps, label files, and rasters of unknown bands."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.errors import BandsUnrecognisedError, LabelsError, one_line
from rsmeta.geo.arrays import is_array_file
from rsmeta.geo.handles import open_raster
from rsmeta.geo.metadata import plain_tags
from rsmeta.geo.polygons import VectorFile
from rsmeta.geo.radar import is_radar, radar_units
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.gis import tags
from rsmeta.gis.class_map import open_class_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.geo.bands import Band
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene

#: A scene with more bands than this is described by the parts of the spectrum that they cover.
_MANY_BANDS = 24
_REGIONS = (
    ("ultraviolet", 0.0, 400.0), ("visible", 400.0, 700.0), ("near infrared", 700.0, 1000.0),
    ("shortwave infrared", 1000.0, 3000.0), ("thermal", 3000.0, 1e6),
)  # fmt: skip
#: Windows, and pixels per side of each, that are read to find the range of values.
_WINDOWS, _WINDOW_PX = 16, 256
#: A raster, or a column, with more distinct values than this does not hold classes.
_MOST_CLASSES = 64


def inspect_raster(source: str) -> dict[str, Any]:
    """Describe a scene, a map, a label raster, or another raster.

    Raises:
        SceneError: It cannot be read.
    """
    try:
        scene = open_scene(source)
    except BandsUnrecognisedError as error:
        return _plain_raster(source, error.advice)
    own = plain_tags(open_raster(scene.source))
    return _of_scene(scene) if tags.MODEL not in own else _of_map(source, own)


def _place(grid: Grid) -> dict[str, Any]:
    return {
        "width_px": grid.width_px,
        "height_px": grid.height_px,
        "crs": None if grid.crs is None else grid.crs.to_string(),
        "pixel_size": list(grid.pixel_size),
        "gsd_m": grid.gsd_m,
        "bounds": list(grid.bounds),
        "bounds_lonlat": None if grid.crs is None else list(grid.bounds_lonlat() or ()),
    }


def _of_scene(scene: Scene) -> dict[str, Any]:
    bands = [
        {
            "name": band.name,
            "common_name": band.common_name,
            "wavelength_nm": band.wavelength_nm,
            "width_nm": band.width_nm,
            "scale": scale,
            "offset": offset,
            "nodata": nodata[0] if nodata else None,
        }
        for band, scale, offset, nodata in zip(
            scene.bands, scene.scale, scene.offset, scene.nodata, strict=True
        )
    ]
    return {
        "kind": "scene",
        "path": scene.name,
        "sensor": scene.sensor,
        "bands": bands,
        **_spectrum(scene.bands),
        **_radar(scene),
        "dtype": scene.dtype,
        **_place(scene.grid),
        "acquired": scene.acquired.isoformat() if scene.acquired else None,
    }


def _spectrum(bands: Sequence[Band]) -> dict[str, Any]:
    """Return a row for each part of the spectrum, of scenes with many bands."""
    if len(bands) <= _MANY_BANDS:
        return {}
    rows = []
    for part, low, high in _REGIONS:
        inside = [b for b in bands if b.wavelength_nm is not None and low <= b.wavelength_nm < high]
        centres = [b.wavelength_nm for b in inside if b.wavelength_nm is not None]
        if not inside:
            continue
        steps = np.diff(np.unique(centres))
        widths = [b.width_nm for b in inside if b.width_nm is not None]
        rows.append({
            "part": part,
            "bands": len(inside),
            "from_nm": min(centres),
            "to_nm": max(centres),
            "step_nm": round(float(np.median(steps)), 2) if steps.size else None,
            "largest_gap_nm": round(float(steps.max()), 2) if steps.size else None,
            "width_nm": round(float(np.median(widths)), 2) if widths else None,
            "out_of_order": sum(b < a for a, b in pairwise(centres)) or None,
        })  # fmt: skip
    return {"spectrum": rows}


def _radar(scene: Scene) -> dict[str, Any]:
    """Return what bands of radar are in, by the mean of some pixels."""
    radar = [band for band in scene.bands if is_radar(band)]
    if not radar:
        return {}
    values = _sample(scene.select(radar))
    if not values.size:
        return {}
    return {"radar": radar_units(radar, values.mean(axis=1, dtype=np.float64).tolist())}


def _plain_raster(source: str, advice: str) -> dict[str, Any]:
    raster = open_raster(source)
    own = plain_tags(raster)
    if tags.CLASSES in own or tags.MODEL in own:
        return _of_map(source, own)
    scene = open_numbered(source)
    found = {"kind": "raster", "path": source, **_place(scene.grid), "bands": _ranges(scene)}
    values, counts = np.unique(_sample(scene), return_counts=True)
    is_whole = np.issubdtype(np.dtype(scene.dtype), np.integer)
    if raster.count == 1 and is_whole and len(values) <= _MOST_CLASSES:
        rows = [
            {"value": int(value), "share": round(float(count / counts.sum()), 4)}
            for value, count in zip(values, counts, strict=True)
        ]
        return {**found, "kind": "labels", "values": rows, "guess": _as_labels(values)}
    numeric = "" if raster.count > 1 else ", or labels of task: regression (data.target)"
    return {**found, "guess": f"a scene without known bands: {advice}{numeric}"}


def _as_labels(values: np.ndarray) -> str:
    if not values.size:
        return "no pixel has data"
    names = ", ".join(f"{int(value)}: name" for value in values if value)
    ignore = ", data.ignore: 0 if 0 means no label" if (values == 0).any() else ""
    return f"labels of classes: data.classes: {{{names}}}{ignore}"


def open_numbered(source: str | Path) -> Scene:
    """Open a raster whose bands are unknown; they are called by their numbers."""
    count = open_raster(source).count
    return open_scene(source, ReadRules(bands=tuple(f"layer {i + 1}" for i in range(count))))


def _ranges(scene: Scene) -> list[dict[str, Any]]:
    raster = open_raster(scene.source)
    values = _sample(scene)
    return [
        {
            "band": i + 1,
            "description": raster.descriptions[i] or None,
            "dtype": raster.dtypes[i],
            "nodata": raster.nodatavals[i],
            "minimum": float(values[i].min()) if values.size else None,
            "maximum": float(values[i].max()) if values.size else None,
        }
        for i in range(raster.count)
    ]


def _sample(scene: Scene) -> np.ndarray:
    """Return the valid pixels of windows spread over the scene, (C, N)."""
    windows = list(scene.grid.windows(_WINDOW_PX))
    picked = sorted({*np.linspace(0, len(windows) - 1, _WINDOWS).astype(int)})
    chips = [scene.read(windows[i]) for i in picked]
    return np.concatenate([chip.data[:, chip.valid] for chip in chips], axis=1)


def _of_map(source: str, own: dict[str, str]) -> dict[str, Any]:
    """Describe a raster that ``rsmeta predict`` wrote."""
    scene = open_numbered(source)
    found: dict[str, Any] = {
        "kind": "map",
        "path": source,
        "dtype": scene.dtype,
        "nodata": scene.nodata[0][0] if scene.nodata[0] else None,
        **_place(scene.grid),
        "source": own.get(tags.SOURCE),
        "acquired": own.get(tags.ACQUIRED),
        "made": own.get(tags.MADE),
        "software": own.get(tags.SOFTWARE),
        "model_sha256": own.get(tags.MODEL),
    }
    is_classes = tags.CLASSES in own and len(scene.bands) == 1 and scene.dtype.startswith("uint")
    if is_classes and not is_array_file(source):
        return {**found, "classes": _cover(source)}
    return {**found, "bands": _ranges(scene)}


def _cover(source: str) -> list[dict[str, Any]]:
    class_map = open_class_map(source)
    cover = class_map.cover()
    total = max(sum(cover.pixels), 1)
    areas = cover.areas_m2 or [None] * len(cover.pixels)
    return [
        {
            "value": spec.value,
            "name": spec.name,
            "colour": spec.colour,
            "pixels": pixels,
            "share": round(pixels / total, 4),
            "area_m2": area,
        }
        for spec, pixels, area in zip(class_map.classes, cover.pixels, areas, strict=True)
    ]


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

    file = VectorFile(path, error=LabelsError).path
    names: list[str | None] = [None]
    if str(path) == str(file) and file.suffix.lower() != ".parquet":
        try:
            names = [str(name) for name, kind in pyogrio.list_layers(file) if kind is not None]
        except (OSError, RuntimeError, ValueError) as error:
            raise LabelsError(
                f"cannot read {file} as a vector file ({one_line(error)}); is it complete?"
            ) from error
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
    return found
