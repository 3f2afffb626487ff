"""What comes with a map besides its rasters: tags, polygons, picture, STAC item."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta._version import __version__
from rsmeta.bundle import MODEL_ITEM_FILE
from rsmeta.geo.sources import scene_stem
from rsmeta.gis import tags
from rsmeta.gis.outputs.best_effort import best_effort
from rsmeta.gis.outputs.stac import Asset, Origin, Source, item_text, raster_asset
from rsmeta.gis.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.outputs.destinations import Output
    from rsmeta.gis.outputs.rasters import Finished, ProductWriter
    from rsmeta.gis.progress import OnProgress
    from rsmeta.workflows.mapping.request import MapRequest


def tags_of(scene: Scene, record: BundleRecord, made: datetime) -> dict[str, str]:
    """Return the metadata that every raster carries: model, source, software, times."""
    carried = {
        tags.SOFTWARE: f"rsmeta {__version__}",
        tags.MADE: tags.tiff_time(made),
        tags.MODEL: record.weights_sha256,
        tags.SOURCE: Path(scene.name).name,
    }
    if scene.acquired is not None:
        carried[tags.ACQUIRED] = scene.acquired.isoformat()
    return carried


def write_rest(
    request: MapRequest,
    writer: ProductWriter,
    origin: Origin,
    on_polygons: OnProgress = no_progress,
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
        name: raster_asset(name, raster, writer.statistics, request.grid)
        for name, raster in rasters.items()
    }
    outputs = request.products.outputs
    if "vector" in outputs:
        assets["polygons"] = _polygons(request, outputs["vector"], writer, rasters, on_polygons)
    if "quicklook" in outputs:
        with best_effort(outputs["quicklook"].destination):
            assets["thumbnail"] = _picture(outputs["quicklook"], writer, rasters, origin)
    if "stac" in outputs:  # last: it holds the checksums of all the others
        item = outputs["stac"]
        with best_effort(item.destination), writer.beside(item.local) as hidden:
            text = item_text(outputs["stac"], assets, request.grid, origin)
            hidden.write_text(text, encoding="utf-8")


def _polygons(
    request: MapRequest,
    output: Output,
    writer: ProductWriter,
    rasters: Mapping[str, Finished],
    on_progress: OnProgress,
) -> Asset:
    from rsmeta.gis import vector  # so late because scipy and pyarrow take their time

    sure = rasters.get("confidence")
    source = vector.open_map(rasters["map"].hidden, None if sure is None else sure.hidden)
    with writer.beside(output.local) as hidden:
        vector.write(source, hidden, request.record.predict.polygons, on_progress)
    media_type = vector.FORMATS[output.local.suffix.lower()].media_type
    return Asset(output, hidden, media_type, ["data"], "The map as polygons", {})


def _picture(
    output: Output, writer: ProductWriter, rasters: Mapping[str, Finished], origin: Origin
) -> Asset:
    from rsmeta.gis.outputs.quicklook import (
        map_picture,  # so late because matplotlib takes its time
    )

    more = f" and {len(origin.scenes) - 1} more" if len(origin.scenes) > 1 else ""
    title = scene_stem(origin.scenes[0].name) + more
    with writer.beside(output.local) as hidden:
        map_picture(hidden, rasters["map"], writer.statistics, title=title)
    return Asset(output, hidden, "image/png", ["thumbnail"], "The map with its legend", {})


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
        scenes=[Source(one.scene.source.uri, one.scene.acquired) for one in requests],
        made=made,
        model=request.record.backbone.name,
        model_sha256=request.record.weights_sha256,
        model_item=item if item is not None and item.is_file() else None,
        version=__version__,
    )
