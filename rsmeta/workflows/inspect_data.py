"""Describe raster files: scenes, maps, label rasters, and rasters of unknown bands."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.errors import BandsUnrecognisedError, enumerate_names
from rsmeta.geo.arrays import is_array_file
from rsmeta.geo.handles import open_raster
from rsmeta.geo.metadata import plain_tags
from rsmeta.geo.radar import is_radar, radar_units
from rsmeta.geo.sampling import spread_pixels
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.gis import tags
from rsmeta.gis.class_map import open_class_map
from rsmeta.workflows.init.scene_guesses import guess_scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.bands import Band
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene

#: A scene with more bands than this is described by the parts of the spectrum that they cover.
_MANY_BANDS = 24
_REGIONS = (
    ("ultraviolet", 0.0, 400.0), ("visible", 400.0, 700.0), ("near infrared", 700.0, 1000.0),
    ("shortwave infrared", 1000.0, 3000.0), ("thermal", 3000.0, 1e6),
)  # fmt: skip
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
        **_statistics(scene),
        "acquired": scene.acquired.isoformat() if scene.acquired else None,
    }


def _statistics(scene: Scene) -> dict[str, Any]:
    """Return what some pixels of each band hold, in physical units; nothing of remote scenes."""
    if not Path(scene.name).exists():
        return {}
    values, without_data = spread_pixels(scene)
    rows = []
    for band, one in zip(
        scene.bands if values.size else (), values.astype(np.float64), strict=False
    ):
        low, high = np.percentile(one, (2, 98))
        numbers = {"minimum": one.min(), "percentile_2": low, "mean": one.mean(),
                   "percentile_98": high, "maximum": one.max(), "deviation": one.std()}  # fmt: skip
        rows.append({"band": band.name, **{name: float(f"{n:.5g}") for name, n in numbers.items()}})
    return {"values": rows, "share_without_data": round(without_data, 4)}


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
    values, _ = spread_pixels(scene.select(radar))
    if not values.size:
        return {}
    return {"radar": radar_units(radar, values.mean(axis=1, dtype=np.float64).tolist())}


def _plain_raster(source: str, advice: str) -> dict[str, Any]:
    raster = open_raster(source)
    own = plain_tags(raster)
    if tags.CLASSES in own or tags.MODEL in own:
        return _of_map(source, own)
    scene = open_numbered(source)
    bands, without_data = _ranges(scene)
    found = {"kind": "raster", "path": source, **_place(scene.grid), "bands": bands,
             "share_without_data": without_data}  # fmt: skip
    values, counts = np.unique(spread_pixels(scene)[0], return_counts=True)
    is_whole = np.issubdtype(np.dtype(scene.dtype), np.integer)
    if raster.count == 1 and is_whole and len(values) <= _MOST_CLASSES:
        rows = [
            {"value": int(value), "share": round(float(count / counts.sum()), 4)}
            for value, count in zip(values, counts, strict=True)
        ]
        return {**found, "kind": "labels", "values": rows, "guess": _as_labels(values)}
    numeric = "" if raster.count > 1 else ", or labels of task: regression (data.target)"
    guesses = _guesses(source) if raster.count > 1 else {}
    return {**found, **guesses, "guess": f"a scene without known bands: {advice}{numeric}"}


def _guesses(source: str) -> dict[str, Any]:
    """Return what ``rsmeta init`` would write about a scene; nothing of files elsewhere."""
    if not Path(source).is_file():
        return {}
    found = guess_scenes([source]).guesses
    return {"init_guesses": {one.key: f"{'' if one.value is None else f'{_short(one.value)}; '}"
                             f"{one.why}" for one in found}}  # fmt: skip


def _short(value: Any) -> str:
    return enumerate_names(value, most=6) if isinstance(value, list) else str(value)


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


def _ranges(scene: Scene) -> tuple[list[dict[str, Any]], float]:
    """Return values of each band in windows over the scene, and their share without data."""
    raster = open_raster(scene.source)
    values, without_data = spread_pixels(scene)
    known = values.astype(np.float64)
    rows = [
        {
            "band": i + 1,
            "description": raster.descriptions[i] or None,
            "dtype": raster.dtypes[i],
            "nodata": raster.nodatavals[i],
            "minimum": float(values[i].min()) if values.size else None,
            "maximum": float(values[i].max()) if values.size else None,
            "mean": float(known[i].mean()) if values.size else None,
            "deviation": float(known[i].std()) if values.size else None,
        }
        for i in range(raster.count)
    ]
    return rows, round(without_data, 4)


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
    return {**found, "bands": _ranges(scene)[0]}


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
