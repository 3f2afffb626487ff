"""Hold out whole polygons, drawn class by class, and alike in all scenes that show them."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely

from rsmeta.data.label_index import NoLabelsError, labelled_windows
from rsmeta.data.polygon_labels import PolygonLabels
from rsmeta.errors import SplitError, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.data import DataSettings
    from rsmeta.data.chips import LabelledScene
    from rsmeta.data.splits import Part

logger = logging.getLogger(__name__)


class PolygonKey(NamedTuple):
    """A polygon: its file, and its row there."""

    path: str
    row: int


def has_polygons_to_hold_out(scenes: Sequence[LabelledScene]) -> bool:
    """Return whether all labels are polygons, and some class has two or more."""
    if not all(isinstance(one.labels, PolygonLabels) for one in scenes):
        return False
    return max(Counter(polygon_classes(scenes).values()).values(), default=0) > 1


def polygon_classes(scenes: Sequence[LabelledScene]) -> dict[PolygonKey, int]:
    """Return the class of every polygon that labels a valid pixel.

    Raises:
        SplitError: Labels are no polygons.
    """
    found: dict[PolygonKey, int] = {}
    for one in scenes:
        labels = one.labels
        if not isinstance(labels, PolygonLabels):
            raise SplitError(
                "split.by=polygons holds out whole polygons, but labels are rasters; use "
                "split.by=blocks, or name a vector file of areas as split.validation"
            )
        for window, strata, _ in labelled_windows(one):
            for i in np.unique(labels.read_owners(window)[strata >= 0]).tolist():
                found[_key(labels, i)] = int(labels.classes[i])
    return found


def hold_out_polygons(
    settings: DataSettings,
    scenes: Sequence[LabelledScene],
    shares: Mapping[Part, float],
    *,
    rng: np.random.Generator,
) -> dict[Part, set[PolygonKey]]:
    """Return the polygons of each held-out part.

    Args:
        settings: The ``data`` section.
        scenes: Scenes that are labelled by polygons.
        shares: Share of the polygons of each class per held-out part.
        rng: Draws the polygons.

    Raises:
        SplitError: Labels are no polygons, or no class has polygons for a part.
    """
    classes = polygon_classes(scenes)
    if not classes:
        raise NoLabelsError(scenes)
    chosen = choose_polygons(classes, shares, rng)
    for part in shares:
        if not chosen[part]:
            raise SplitError(
                f"no class has enough polygons to keep a {part} part; draw more of each class, "
                f"use split.by=blocks, or set data.split.{part}=0"
            )
    _warn_of_single_polygons(settings, classes)
    return chosen


def areas_of_polygons(
    one: LabelledScene, chosen: Mapping[Part, set[PolygonKey]]
) -> dict[Part, shapely.Geometry]:
    """Return the area of the polygons of each held-out part in a scene, in its CRS."""
    labels = one.labels
    assert isinstance(labels, PolygonLabels)
    keys = [_key(labels, i) for i in range(len(labels.classes))]
    return {
        part: shapely.union_all(labels.shapes.to_numpy()[[key in mine for key in keys]])
        for part, mine in chosen.items()
    }


def choose_polygons(
    classes: Mapping[PolygonKey, int], shares: Mapping[Part, float], rng: np.random.Generator
) -> dict[Part, set[PolygonKey]]:
    """Choose the polygons of each held-out part: a share of every class, and at least one.

    One polygon at least of every class stays for training; where a class has too few for all
    parts, it is in the first ones.
    """
    chosen: dict[Part, set[PolygonKey]] = {part: set() for part in shares}
    for number in sorted(set(classes.values())):
        members = sorted(key for key, own in classes.items() if own == number)
        order = [members[i] for i in rng.permutation(len(members))]
        for part, share in shares.items():
            count = min(len(order) - 1, max(1, round(share * len(members))))
            chosen[part] |= set(order[:count])
            order = order[count:]
    return chosen


def fold_of_polygons(
    classes: Mapping[PolygonKey, int], folds: int, fold: int, rng: np.random.Generator
) -> set[PolygonKey]:
    """Return one of several groups of polygons, among which each class is spread evenly.

    The only polygon of a class is in no group, since nothing would be left to train on.
    """
    group: set[PolygonKey] = set()
    for number in sorted(set(classes.values())):
        members = sorted(key for key, own in classes.items() if own == number)
        order = [members[i] for i in rng.permutation(len(members))]
        start = int(rng.integers(folds))  # small classes do not all lie in the first groups
        if len(members) > 1:
            group |= set(order[(fold - start) % folds :: folds])
    return group


def _warn_of_single_polygons(settings: DataSettings, classes: Mapping[PolygonKey, int]) -> None:
    counts = Counter(classes.values())
    single = [spec.name for i, spec in enumerate(settings.classes) if counts[i] == 1]
    if single:
        logger.warning(
            "one polygon only, which stays in training, so that nothing is known of how well they "
            "are mapped: %s", enumerate_names(single),
        )  # fmt: skip


def _key(labels: PolygonLabels, index: int) -> PolygonKey:
    return PolygonKey(str(labels.path), int(labels.shapes.index[index]))
