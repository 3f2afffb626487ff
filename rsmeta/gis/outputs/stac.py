"""A STAC item for a map and what came with it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rsmeta.geo.raster_source import is_path
from rsmeta.geo.stac_parts import (
    COG,
    GEOTIFF,
    STAC_VERSION,
    class_fields,
    extension,
    file_fields,
    href,
    instant,
    place_fields,
)
from rsmeta.gis.outputs.raster_spec import Ramp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.destinations import Output
    from rsmeta.gis.outputs.map_statistics import MapStatistics
    from rsmeta.gis.outputs.rasters import Finished

_TITLES = {
    "probabilities": "Probability of each class",
    "confidence": "Largest probability",
    "entropy": "Entropy of the probabilities, 0 to 1",
}


class Source(NamedTuple):
    """A scene that a map shows.

    Attributes:
        name: The scene.
        acquired: When it was taken, UTC, if that is known.
    """

    name: str
    acquired: datetime | None


@dataclass(frozen=True)
class Origin:
    """What a map was made from.

    Attributes:
        scenes: The scenes, one at least.
        made: When the map was made, UTC.
        model: Name of the backbone.
        model_sha256: Of the trained weights.
        model_item: The STAC item of the model, if there is one.
        version: Version of rsmeta.
    """

    scenes: Sequence[Source]
    made: datetime
    model: str
    model_sha256: str
    model_item: Path | None
    version: str


@dataclass(frozen=True)
class Asset:
    """A file that an item names.

    Attributes:
        output: Where it ends up.
        hidden: Where it is now.
        media_type: As IANA lists them.
        roles: What it is for.
        title: What it is, in a few words.
        fields: What else the item says of it.
    """

    output: Output
    hidden: Path
    media_type: str
    roles: Sequence[str]
    title: str
    fields: Mapping[str, Any]


def raster_asset(name: str, raster: Finished, statistics: MapStatistics, grid: Grid) -> Asset:
    """Return a finished raster as an asset."""
    product = raster.product
    fields: dict[str, Any] = {"bands": _bands(raster, statistics, grid)}
    if not isinstance(product.drawn, Ramp):
        fields |= class_fields(product.drawn)
    of = product.raster.descriptions[0] if isinstance(product.drawn, Ramp) else "classes"
    title = _TITLES.get(name, f"Map of {of}")
    return Asset(raster.output, raster.hidden, COG, ["data"], title, fields)


def item_text(item: Output, assets: Mapping[str, Asset], grid: Grid, origin: Origin) -> str:
    """Return the text of an item.

    Its time is that of the scenes; where none is known it is the time of making.

    Args:
        item: Where it ends up.
        assets: By key; they are read for their checksums.
        grid: Grid of the rasters.
        origin: What they were made from.

    Raises:
        OSError: An asset cannot be read.
    """
    top, placed = place_fields(grid)
    names = ["projection", "raster", "processing", "file"]
    if any("classification:classes" in asset.fields for asset in assets.values()):
        names.append("classification")
    tree = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [extension(name) for name in names],
        "id": assets["map"].output.local.stem,
        **top,
        "properties": {
            **_times(origin),
            "created": instant(origin.made),
            **placed,
            "processing:software": {"rsmeta": origin.version},
            "processing:datetime": instant(origin.made),
            "processing:lineage": (
                f"mapped by rsmeta predict with the model {origin.model}, weights of SHA-256 "
                f"{origin.model_sha256}"
            ),
        },
        "links": _links(item, origin),
        "assets": {key: _asset(asset, item) for key, asset in assets.items()},
    }
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _asset(asset: Asset, item: Output) -> dict[str, Any]:
    return {
        "href": _href(asset.output.name, item),
        "type": asset.media_type,
        "title": asset.title,
        "roles": list(asset.roles),
        **file_fields(asset.hidden),
        **asset.fields,
    }


def _bands(raster: Finished, statistics: MapStatistics, grid: Grid) -> list[dict[str, Any]]:
    spec, numbers = raster.product.raster, statistics.numbers
    band: dict[str, Any] = {"data_type": spec.dtype, "raster:sampling": "area"}
    if spec.nodata is not None:
        band["nodata"] = "nan" if math.isnan(spec.nodata) else spec.nodata
    if grid.gsd_m is not None:
        band["raster:spatial_resolution"] = round(grid.gsd_m, 3)
    if spec.scale != 1:
        band |= {"raster:scale": spec.scale, "raster:offset": 0.0}
    if spec.unit:
        band["unit"] = spec.unit
    if numbers.count:
        band["statistics"] = {
            "minimum": numbers.low, "maximum": numbers.high, "mean": numbers.mean,
            "stddev": numbers.deviation, "count": numbers.count,
        }  # fmt: skip
    return [{"name": name, **band} for name in spec.descriptions]


def _times(origin: Origin) -> dict[str, str | None]:
    """Return the moment that a map shows, or the first and the last one."""
    known = sorted(scene.acquired for scene in origin.scenes if scene.acquired is not None)
    first, last = (instant(known[i] if known else origin.made) for i in (0, -1))
    if first == last:
        return {"datetime": first}
    return {"datetime": None, "start_datetime": first, "end_datetime": last}


def _links(item: Output, origin: Origin) -> list[dict[str, str]]:
    links = [_scene_link(_href(scene.name, item)) for scene in origin.scenes]
    if origin.model_item is not None:
        links.append(
            {
                "rel": "derived_from",
                "href": _href(origin.model_item, item),
                "type": "application/geo+json",
                "title": "the model",
            }
        )
    return links


def _href(target: str | Path, item: Output) -> str:
    """Return how an item refers to a file when both are where they end up."""
    if not item.is_object:
        return href(target, Path(item.destination))
    if is_path(target):
        return Path(target).absolute().as_uri()  # no relative path leads out of a store
    store, bucket = "s3://", item.destination.split("/")[2]
    if not str(target).startswith(f"{store}{bucket}/"):
        return href(target, item.local)
    here, there = (Path(str(one).removeprefix(store)) for one in (item.destination, target))
    return href(there, here)


def _scene_link(address: str) -> dict[str, str]:
    link = {"rel": "derived_from", "href": address, "title": "the scene"}
    if address.lower().endswith((".tif", ".tiff")):
        link["type"] = GEOTIFF
    return link
