"""From the ``data`` section to labelled scenes, divided into parts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.chips import LabelledScene
from rsmeta.data.divide import divide
from rsmeta.data.label_index import LabelIndex, NoLabelsError, index_labels
from rsmeta.data.labels import LabelRules, open_labels
from rsmeta.data.open_scenes import open_scenes, wanted_bands
from rsmeta.data.places import same_place
from rsmeta.data.quantities import open_quantity
from rsmeta.data.splits import PARTS, Part
from rsmeta.errors import counted, enumerate_names
from rsmeta.geo.sources import scene_stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.data import DataSettings
    from rsmeta.geo.bands import Band
    from rsmeta.geo.scene import Scene

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexedScene:
    """A scene as one part sees it, with the index of the labels it sees."""

    labelled: LabelledScene
    index: LabelIndex


def build_splits(
    settings: DataSettings,
    *,
    seed: int,
    bands: Sequence[Band] | None = None,
    train_on_validation: bool = False,
) -> dict[Part, list[IndexedScene]]:
    """Open every scene and its labels, and divide them into parts.

    Args:
        settings: The ``data`` section.
        seed: Seed of the division.
        bands: Bands to read; none: ``use_bands`` of the settings, else those of the first scene.
        train_on_validation: Whether the validation part belongs to the training part.

    Returns:
        The scenes of each part that hold labels in it; validation and test may be empty.

    Raises:
        RsmetaError: A scene, its bands, its labels or the split cannot be used.
    """
    opened = {
        name: open_scenes(settings, patterns)
        for name, patterns in (
            ("train", settings.scenes),
            ("validation", settings.validation_scenes),
            ("test", settings.test_scenes),
        )
    }
    wanted = bands or wanted_bands(settings, opened["train"][0])
    pairs = {
        name: [_with_labels(settings, scene.select(wanted)) for scene in scenes]
        for name, scenes in opened.items()
    }
    parts: dict[Part, list[IndexedScene]] = {part: [] for part in PARTS}
    for part in ("validation", "test"):
        _warn_of_overlap(part, pairs[part], pairs["train"])
        parts[part] += index_scenes(settings, pairs[part])
    divided = divide(settings, pairs["train"], seed=seed, train_on_validation=train_on_validation)
    for part in PARTS:
        parts[part] += index_scenes(settings, divided[part])
    if train_on_validation:
        parts["train"] += parts["validation"]
        parts["validation"] = []
    if not parts["train"]:
        raise NoLabelsError(pairs["train"])
    _log_counts(settings, parts)
    return parts


def _warn_of_overlap(
    part: str, pairs: Sequence[LabelledScene], training: Sequence[LabelledScene]
) -> None:
    """Warn of scenes named for one part that overlap training scenes."""
    for pair in pairs:
        grids = [pair.scene.grid, *(other.scene.grid for other in training)]
        if len(same_place(grids, touching=False)[0]) > 1:
            logger.warning(
                "the %s scene %s overlaps the training scenes: its scores say little about "
                "other places", part, pair.scene.name,
            )  # fmt: skip


def _with_labels(settings: DataSettings, scene: Scene) -> LabelledScene:
    name = settings.labels.replace("{stem}", scene_stem(scene.name))
    path, hides = settings.root / name, settings.split.context == "hide"
    if settings.target is not None:
        labels = open_quantity(path, scene.grid, settings.target, settings.ignore)
        return LabelledScene(scene, labels, hides_context=hides)
    rules = LabelRules(settings.classes, settings.ignore, settings.class_column, settings.layer)
    return LabelledScene(scene, open_labels(path, scene.grid, rules), hides_context=hides)


def index_scenes(settings: DataSettings, scenes: Sequence[LabelledScene]) -> list[IndexedScene]:
    """Index the labels of each scene's region; scenes without any are left out."""
    indexed = [IndexedScene(scene, index_labels(scene, settings.strata)) for scene in scenes]
    return [one for one in indexed if len(one.index.cells)]


def _log_counts(settings: DataSettings, parts: Mapping[Part, Sequence[IndexedScene]]) -> None:
    """Log the labelled pixels per part and class, and warn of classes without any."""
    names = [spec.name for spec in settings.classes]
    if settings.target is not None:
        names = [settings.target.name]
    for part in PARTS:
        counts = sum(
            (seen.index.class_counts for seen in parts[part]),
            np.zeros(settings.strata, np.int64),
        )
        shown = ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True) if n)
        logger.info("%s: %s; labelled pixels: %s", part, counted(len(parts[part]), "scene"),
                    shown or "none")  # fmt: skip
        missing = [name for name, n in zip(names, counts, strict=True) if not n]
        if missing and parts[part]:
            logger.warning("no labels in the %s part: %s", part, enumerate_names(missing))
