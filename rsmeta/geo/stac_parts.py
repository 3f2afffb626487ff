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

import shapely

from rsmeta.geo.footprint import bounds_lonlat, footprint, hull
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
_DECIMALS = 7  # of degrees: a centimetre
# The most parts of a footprint that are listed one by one; more would swell every item.
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

    There is no geometry and no bounding box where the place on the Earth is not known.
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
    place = footprint(grid)
    if place is None:
        return {"geometry": None}, properties
    bbox = [round(side, _DECIMALS) for side in bounds_lonlat([place])]
    return {"geometry": _geometry(place), "bbox": bbox}, properties


def footprint_of(grids: Iterable[Grid]) -> dict[str, Any] | None:
    """Return the footprint of some grids as one GeoJSON geometry in degrees.

    Holes in it are closed. Of many grids that lie apart it is the hull. None where no grid has a
    place on the Earth.
    """
    places = [place for grid in dict.fromkeys(grids) if (place := footprint(grid)) is not None]
    if not places:
        return None
    joined = shapely.union_all(places)
    if shapely.get_num_geometries(joined) > _MOST_PARTS:
        joined = hull(joined)
    return _geometry(joined)


def bbox_of(geometry: dict[str, Any]) -> list[float]:
    """Return west, south, east, north of a GeoJSON geometry in degrees.

    West is greater than east where it crosses the antimeridian (RFC 7946, section 5.2).
    """
    return list(bounds_lonlat([shapely.from_geojson(json.dumps(geometry))]))


def _geometry(place: shapely.Geometry) -> dict[str, Any]:
    rounded = shapely.set_precision(place, 10.0**-_DECIMALS)  # and still valid
    rings = [
        [[[round(x, _DECIMALS) + 0.0, round(y, _DECIMALS) + 0.0] for x, y in part.exterior.coords]]
        for part in shapely.get_parts(shapely.orient_polygons(rounded))
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
