"""Parts that STAC items of maps and of models have in common.

Extensions are named with the versions whose schemas the items were checked against.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import shapely
from pyproj import Transformer

from rsmeta.geo.grid import apply
from rsmeta.geo.raster_source import is_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from rsmeta.config.data import ClassSpec
    from rsmeta.geo.grid import Grid

STAC_VERSION = "1.1.0"
# Characters of an address that are left as they are: its delimiters, and what is encoded already.
_URI = ":/?#[]@!$&'()*+,;=%"
GEOTIFF = "image/tiff; application=geotiff"
COG = f"{GEOTIFF}; profile=cloud-optimized"

_EXTENSIONS = {
    "classification": "1.1.0", "file": "2.1.0", "mlm": "1.5.2", "processing": "1.2.0",
    "projection": "2.0.0", "raster": "2.0.0",
}  # fmt: skip
# Code and length of SHA-256 in front of a digest, as multihash has it.
_SHA256_HEAD = "1220"
# Points along each side of a footprint: sides that are straight on the map bend on the globe.
_SIDE_POINTS = 16
_DECIMALS = 7  # of degrees: a centimetre
# Points of a footprint this near to the line between others are left out: a tenth of a metre.
_STRAIGHT_DEG = 1e-6
# Places that lie apart and are told one by one; more would swell what tells them.
_MOST_PARTS = 100


def extension(name: str) -> str:
    """Return the address of an extension's schema."""
    return f"https://stac-extensions.github.io/{name}/v{_EXTENSIONS[name]}/schema.json"


def file_fields(path: Path) -> dict[str, Any]:
    """Return size and checksum (multihash, SHA-256) of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file:size": path.stat().st_size, "file:checksum": _SHA256_HEAD + digest}


def class_fields(classes: Sequence[ClassSpec]) -> dict[str, Any]:
    """Return what values mean, and their colours."""
    listed = [
        {
            "value": spec.value,
            "name": re.sub(r"[^0-9A-Za-z_-]+", "_", spec.name).strip("_") or f"class_{spec.value}",
            "description": spec.name,
            "color_hint": spec.colour.removeprefix("#").upper(),
        }
        for spec in classes
    ]
    return {"classification:classes": listed}


def place_fields(grid: Grid) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an item says of its place at its top, and in its properties.

    Without CRS the place is not known: there is no geometry and no bounding box then.
    """
    t = grid.transform
    properties: dict[str, Any] = {
        "proj:code": None,
        "proj:shape": [grid.height_px, grid.width_px],
        "proj:transform": [t.a, t.b, t.c, t.d, t.e, t.f],
        "proj:bbox": list(grid.bounds),
    }
    if grid.crs is None:
        return {"geometry": None}, properties
    authority = grid.crs.to_authority()
    if authority is None:
        properties["proj:wkt2"] = grid.crs.to_wkt(version="WKT2_2019")
    else:
        properties["proj:code"] = ":".join(authority)
    properties["gsd"] = round(grid.gsd_m or 0.0, 3)
    outline = _outline(grid)
    west, south, east, north = outline.bounds
    if east > 180:  # RFC 7946: west of an extent over the antimeridian is the greater
        west, east = west, east - 360
        outline = _cut(outline)
    bbox = [round(side, _DECIMALS) for side in (west, south, east, north)]
    return {"geometry": _geometry(outline), "bbox": bbox}, properties


def ground_of(grids: Iterable[Grid]) -> dict[str, Any] | None:
    """Return the ground of some grids as one GeoJSON geometry in degrees; none without any CRS.

    Holes between them are closed. Of many that lie apart it is the hull.
    """
    outlines = [_outline(grid) for grid in dict.fromkeys(grids) if grid.crs is not None]
    shapes = [_cut(one) if one.bounds[2] > 180 else one for one in outlines]
    if not shapes:
        return None
    joined = shapely.union_all(shapes)
    if shapely.get_num_geometries(joined) > _MOST_PARTS:
        joined = shapely.convex_hull(joined)
    return _geometry(shapely.orient_polygons(joined))


def bbox_of(geometry: dict[str, Any]) -> list[float]:
    """Return west, south, east, north of a GeoJSON geometry in degrees."""
    bounds = shapely.bounds(shapely.from_geojson(json.dumps(geometry)))
    return [float(side) for side in bounds]


def _outline(grid: Grid) -> shapely.Polygon:
    """Return the footprint in degrees; east of the antimeridian longitudes go on above 180."""
    side = np.linspace(0, 1, _SIDE_POINTS, endpoint=False)
    around = [
        (side, 0 * side),
        (0 * side + 1, side),
        (1 - side, 0 * side + 1),
        (0 * side, 1 - side),
    ]
    cols = np.concatenate([col for col, _ in around]) * grid.width_px
    rows = np.concatenate([row for _, row in around]) * grid.height_px
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*grid.xy(cols, rows))
    if np.ptp(lon) > 180 and not _spans_the_globe(grid, to_degrees):
        lon = np.where(lon < 0, lon + 360, lon)
    places = np.stack([np.clip(lon, -180, 360), np.clip(lat, -90, 90)], axis=1)
    outline = shapely.simplify(shapely.Polygon(places), _STRAIGHT_DEG)
    return shapely.orient_polygons(outline)


def _spans_the_globe(grid: Grid, to_degrees: Transformer) -> bool:
    """Return whether the middle of a wide grid lies between its sides: it is no short way round."""
    middle = apply(grid.transform, grid.width_px / 2, grid.height_px / 2)
    return abs(float(to_degrees.transform(*middle)[0])) < 90


def _cut(outline: shapely.Polygon) -> shapely.MultiPolygon:
    """Cut a footprint at the antimeridian."""
    west = shapely.intersection(outline, shapely.box(-180, -90, 180, 90))
    east = shapely.intersection(outline, shapely.box(180, -90, 540, 90))
    moved = shapely.transform(east, lambda places: places - np.array([360, 0]))
    parts = [part for part in (west, moved) if isinstance(part, shapely.Polygon)]
    return shapely.MultiPolygon([shapely.orient_polygons(part) for part in parts])


def _geometry(outline: shapely.Polygon | shapely.MultiPolygon) -> dict[str, Any]:
    polygons = [outline] if isinstance(outline, shapely.Polygon) else list(outline.geoms)
    rings = [
        [[[round(x, _DECIMALS), round(y, _DECIMALS)] for x, y in polygon.exterior.coords]]
        for polygon in polygons
    ]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def href(target: str | Path, item: Path) -> str:
    """Return how an item refers to a file, percent-encoded: relative to itself, if both are local.

    Source: RFC 3986, section 2.
    """
    if not is_path(target):
        return quote(str(target).removeprefix("/vsicurl/"), safe=_URI)
    relative = os.path.relpath(os.path.realpath(target), os.path.realpath(item.parent))
    relative = quote(relative.replace(os.sep, "/"))
    return relative if relative.startswith("../") else f"./{relative}"


def instant(moment: datetime) -> str:
    """Return a moment in UTC as STAC writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
