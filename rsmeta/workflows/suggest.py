"""Suggest the places of a scene that are worth labelling next."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.bundle import load_bundle
from rsmeta.errors import ConfigError, LabelsError, SceneError
from rsmeta.geo.inputs import check_not_an_input, raster_files
from rsmeta.geo.polygons import VectorFile
from rsmeta.gis.outputs.products import Products
from rsmeta.gis.quantity_map import open_quantity_map
from rsmeta.gis.suggesting import (
    differing,
    features_of,
    most_uncertain,
    patch_px,
    write_places,
)
from rsmeta.gis.vector.frames import check_features_output
from rsmeta.shown import Shown, View
from rsmeta.workflows.mapping.predict_scenes import predict
from rsmeta.workflows.mapping.request import open_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.bundle import ModelBundle
    from rsmeta.gis.quantity_map import QuantityMap
    from rsmeta.workflows.mapping.progress import Progress

logger = logging.getLogger(__name__)

#: What a raster of confidence may be, by the name of its band.
_SURE = ("confidence", "entropy")


@dataclass(frozen=True, repr=False)
class Suggestions(Shown):
    """Places that are worth labelling next.

    Attributes:
        output: The file of their outlines.
        uncertainty: Of each, 0 to 1, in the order of their numbers.
        size_px: Their side in pixels of the map.
    """

    output: Path
    uncertainty: tuple[float, ...]
    size_px: int

    def view(self) -> View:
        """Return where they are, and how uncertain each is."""
        facts = {"output": self.output, "places": len(self.uncertainty), "size_px": self.size_px}
        return View(facts, ("place", "uncertainty"), tuple(enumerate(self.uncertainty, 1)))


def suggest(
    scene: str | Path,
    bundle: str | Path | ModelBundle,
    *,
    output: str | Path,
    count: int = 20,
    confidence: str | Path | None = None,
    labels: str | Path | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Suggestions:
    """Write the places of a scene where labels would help a model most.

    They are square patches that the model is unsure of and that differ in what the scene shows.

    Args:
        scene: The scene.
        bundle: A bundle of classes of pixels, or its folder.
        output: Vector file to write: .gpkg (with a style), .geojson or .fgb.
        count: Number of places.
        confidence: ``confidence`` or ``entropy`` of a finished map of the scene; none: the scene
            is mapped for it.
        labels: Polygons that have been drawn already; no place touches them.
        overwrite: Replace an existing file.
        on_progress: Called while the scene is mapped.

    Raises:
        RsmetaError: Anything a user can mend: scene, bundle, labels, output.
    """
    output = Path(output)
    if count < 1:
        raise ConfigError(f"cannot suggest {count} places; ask for at least 1")
    check_features_output(output, "places", overwrite=overwrite)
    given = [one for one in (confidence, labels) if one is not None]
    check_not_an_input([output], [*raster_files(scene), *map(str, given)])
    drawn = None if labels is None else VectorFile(labels, error=LabelsError)
    if drawn is not None:
        drawn.read_polygons()  # mapping may take long: complain first
    model = load_bundle(bundle) if isinstance(bundle, str | Path) else bundle
    if confidence is not None:
        return _suggest(scene, model, _open(confidence), drawn, output, count)
    with tempfile.TemporaryDirectory(prefix=".suggest", dir=output.parent) as folder:
        products = Products(Path(folder, "map.tif"), confidence=Path(folder, "confidence.tif"))
        predict(scene, model, output=products, on_progress=on_progress)
        return _suggest(scene, model, _open(products.files["confidence"]), drawn, output, count)


def _open(path: str | Path) -> QuantityMap:
    sure = open_quantity_map(path)
    if sure.name not in _SURE:
        raise SceneError(
            f"{path} holds {sure.name!r}, not {' or '.join(_SURE)}; write it with rsmeta predict "
            f"--confidence"
        )
    return sure


def _suggest(
    scene: str | Path,
    model: ModelBundle,
    sure: QuantityMap,
    drawn: VectorFile | None,
    output: Path,
    count: int,
) -> Suggestions:
    shapes = () if drawn is None else tuple(drawn.read_onto(sure.grid).geometry)
    size_px = patch_px(sure.grid, count)
    found = most_uncertain(sure, count, size_px=size_px, labelled=shapes)
    if not len(found):
        why = "all mapped patches are labelled" if shapes else "nothing is mapped"
        raise SceneError(f"{sure.path} has no place to suggest: {why}")
    if len(found) < count:
        logger.warning("%d of %d places: the map has no more", len(found), count)
    features = features_of(open_for(scene, model.record), sure.grid, found)
    chosen = differing(found, features, count)
    write_places(output, sure.grid, chosen)
    return Suggestions(output, tuple(map(float, chosen.uncertainty)), size_px)
