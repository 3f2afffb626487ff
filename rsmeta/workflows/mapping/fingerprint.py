"""What ``--resume`` compares: all that determines the pixels of a map."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rsmeta._version import __version__
from rsmeta.errors import OutputError
from rsmeta.files import partial_folder
from rsmeta.geo.handles import file_states, open_raster
from rsmeta.geo.journal import read_begun_with
from rsmeta.gis import tags
from rsmeta.gis.outputs.rasters import journal_file

if TYPE_CHECKING:
    from rsmeta.gis.outputs.products import Products
    from rsmeta.workflows.mapping.request import MapRequest


def resume_fingerprint(request: MapRequest) -> dict[str, Any]:
    """Return all that determines the pixels of a map, under names that a user understands."""
    scene, record, settings = request.scene, request.record, request.record.predict
    model = hashlib.sha256(record.model_dump_json(exclude={"predict", "tile_px"}).encode())
    reading = {
        key: value for key, value in asdict(scene).items() if key not in {"grid", "acquired"}
    }
    reading["speckle"] = None if scene.speckle is None else scene.speckle.model_dump()
    chosen = settings.model_dump(
        include={"overlap", "blend", "augment", "precision", "optimize", "engine"}
    )
    return {
        "version of rsmeta": __version__,
        "model": model.hexdigest(),
        "scene": {**reading, "source": scene.source.identity, "files": file_states(scene.source)},
        "extent": [int(n) for n in request.plan.extent.flatten()],
        "area of interest": None if request.aoi is None else request.aoi.sha256,
        "setting": {**chosen, **request.plan.fingerprint()},
        "list of outputs": [path.name for path in request.products.paths],
        "type of probabilities": request.products.probabilities_type,
    }


def begun_block_px(products: Products) -> int | None:
    """Return the side of the blocks that an interrupted run has left; none if it left none."""
    begun = read_begun_with(journal_file(products))
    return None if begun is None else int(begun["setting"]["block_px"])


def is_done(request: MapRequest) -> bool:
    """Return whether an earlier run has left nothing to resume.

    Raises:
        OutputError: The map that exists was made by another model or on another grid.
    """
    outputs, grid = request.products.outputs, request.grid
    begun = any(partial_folder(output.local).exists() for output in outputs.values())
    if not request.resume or begun or not all(output.exists for output in outputs.values()):
        return False
    made = outputs["map"]
    found = open_raster(str(made.local) if made.local.is_file() else made.destination)
    same = found.tags().get(tags.MODEL) == request.record.weights_sha256
    if same and (found.transform, found.shape) == (grid.transform, grid.shape):
        return True
    if request.if_exists == "resume or overwrite":
        return False
    raise OutputError(
        f"{made.destination} was made by another model or for another extent; choose "
        f"another name or give --overwrite"
    )
