"""What comes with a map besides its rasters: tags, polygons, picture, STAC item."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rsmeta
from rsmeta.bundle import MODEL_ITEM_FILE
from rsmeta.geo.handles import address
from rsmeta.geo.sources import scene_stem
from rsmeta.gis.outputs.stac import Asset, Origin, Source, item_text, raster_asset
from rsmeta.gis.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.outputs.rasters import Finished, ProductWriter
    from rsmeta.gis.progress import Tell
    from rsmeta.workflows.mapping.request import MapRequest

MODEL_TAG = "RSMETA_MODEL_SHA256"


def tags_of(scene: Scene, record: BundleRecord, made: datetime) -> dict[str, str]:
    """Return the metadata that every raster carries: model, source, software, times."""
    tags = {
        "TIFFTAG_SOFTWARE": f"rsmeta {rsmeta.__version__}",
        "TIFFTAG_DATETIME": made.strftime("%Y:%m:%d %H:%M:%S"),
        MODEL_TAG: record.weights_sha256,
        "RSMETA_SOURCE": Path(scene.name).name,
    }
    if scene.acquired is not None:
        tags["ACQUISITIONDATETIME"] = scene.acquired.isoformat()
    return tags


def write_rest(
    request: MapRequest, writer: ProductWriter, origin: Origin, on_polygons: Tell = silent
) -> None:
    """Complete the rasters and make all that is made from them; nothing has its name yet.

    Args:
        request: What is mapped.
        writer: All blocks are written.
        origin: What the map was made from.
        on_polygons: Called while polygons are made.

    Raises:
        OutputError: The disk does not take it.
    """
    rasters = writer.complete()
    assets = {
        name: raster_asset(name, raster, writer.tally, request.grid)
        for name, raster in rasters.items()
    }
    if request.products.vector is not None:
        assets["polygons"] = _polygons(request, writer, rasters, on_polygons)
    if request.products.quicklook is not None:
        assets["thumbnail"] = _picture(request, writer, rasters, origin)
    if request.products.stac is not None:  # last: it holds the checksums of all the others
        with writer.beside(request.products.stac) as hidden:
            text = item_text(request.products.stac, assets, request.grid, origin)
            hidden.write_text(text, encoding="utf-8")


def _polygons(
    request: MapRequest, writer: ProductWriter, rasters: Mapping[str, Finished], tell: Tell
) -> Asset:
    from rsmeta.gis import vector  # so late because scipy and pyarrow take their time

    path = request.products.vector
    assert path is not None  # asked for
    sure = rasters.get("confidence")
    source = vector.open_map(rasters["map"].hidden, None if sure is None else sure.hidden)
    with writer.beside(path) as hidden:
        vector.write(source, hidden, request.record.predict.polygons, tell)
    media_type = vector.FORMATS[path.suffix.lower()].media_type
    return Asset(path, hidden, media_type, ["data"], "The map as polygons", {})


def _picture(
    request: MapRequest, writer: ProductWriter, rasters: Mapping[str, Finished], origin: Origin
) -> Asset:
    from rsmeta.gis.outputs.quicklook import (
        map_picture,  # so late because matplotlib takes its time
    )

    path = request.products.quicklook
    assert path is not None  # asked for
    more = f" and {len(origin.scenes) - 1} more" if len(origin.scenes) > 1 else ""
    title = scene_stem(origin.scenes[0].name) + more
    with writer.beside(path) as hidden:
        map_picture(hidden, rasters["map"], writer.tally, title=title)
    return Asset(path, hidden, "image/png", ["thumbnail"], "The map with its legend", {})


def origin_of(requests: Sequence[MapRequest], made: datetime) -> Origin:
    """Return what a map was made from.

    Args:
        requests: Of the scenes in it, one at least, with one model.
        made: When the map was made, UTC.
    """
    request = requests[0]
    model = request.model
    item = model / MODEL_ITEM_FILE if isinstance(model, Path) else None
    return Origin(
        scenes=[Source(address(one.scene.source), one.scene.acquired) for one in requests],
        made=made,
        model=request.record.backbone.name,
        model_sha256=request.record.weights_sha256,
        model_item=item if item is not None and item.is_file() else None,
        version=rsmeta.__version__,
    )
