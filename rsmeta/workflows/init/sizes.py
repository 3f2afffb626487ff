"""How large chips are, and how labels are divided, judged by trying it on the data."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from rsmeta.config.data import DataSettings
from rsmeta.config.load import validate
from rsmeta.data.build_splits import build_splits
from rsmeta.data.places import same_place
from rsmeta.errors import SplitError
from rsmeta.workflows.init.guess import Guess, LabelGuesses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.splits import Part
    from rsmeta.geo.scene import Scene

#: Chips come in multiples of this, in pixels: a patch of most backbones.
_STEP_PX = 16
_SMALLEST_PX, _LARGEST_PX = 32, 128

#: Polygons of each class from which a test part can be spared.
_POLYGONS_FOR_TEST = 5
#: Separate places from which whole files are held out.
_PLACES_FOR_FILES = 5


def guess_chip(scenes: Sequence[Scene], labels: LabelGuesses) -> Guess:
    """Guess the side of a chip from the sizes of scenes and polygons."""
    side = min(min(scene.grid.shape) for scene in scenes)
    # two and a half chips across a scene leave room to hold some out
    room = max(_STEP_PX, int(side / 2.5) // _STEP_PX * _STEP_PX)
    if labels.polygon_px is None:
        chip = min(64, room)
        return Guess("chip_px", chip, f"the smallest scene is {side:,} px high or wide")
    wanted = round(4 * labels.polygon_px / _STEP_PX) * _STEP_PX
    chip = min(max(wanted, _SMALLEST_PX), _LARGEST_PX, room)
    size = f"the median {labels.drawn_as} is {labels.polygon_px:.3g} px across"
    why = f"{size}, the smallest scene {side:,} px"
    return Guess("chip_px", chip, why)


def guess_split(
    data: Mapping[str, Any], scenes: Sequence[Scene], labels: LabelGuesses
) -> tuple[Guess, Mapping[Part, Sequence[IndexedScene]]]:
    """Return the best division that the labels allow, and what it leads to.

    Args:
        data: The ``data`` section without ``split``.
        scenes: The scenes.
        labels: The labels.

    Raises:
        RsmetaError: Scenes or labels cannot be read, or nothing is left to train on.
    """
    second_best = None
    for split, why in _divisions(scenes, labels):
        settings = validate(DataSettings, {**data, "split": split}, "the guesses")
        try:
            with _quiet():
                parts = build_splits(settings, seed=0)
        except SplitError:
            if not split["validation"]:
                raise
            continue
        if split["validation"] and not parts["validation"]:
            continue
        found = Guess("split", split, why), parts
        untrained = {*range(len(labels.classes))} - {*pixels_of(parts)["train"]}
        if split["validation"] and untrained:
            second_best = second_best or found
            continue
        return found if split["validation"] else second_best or found
    raise AssertionError("the last division holds nothing out")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what is logged of divisions that are only tried to oneself; training says it again."""
    data = logging.getLogger("rsmeta.data")
    before = data.level
    data.setLevel(logging.ERROR)
    try:
        yield
    finally:
        data.setLevel(before)


def _divisions(
    scenes: Sequence[Scene], labels: LabelGuesses
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield divisions, the most telling first, with the reason for each."""
    if labels.polygons is not None:
        fewest = min(labels.polygons.values())
        drawn = labels.drawn_as
        seen = f"whole {drawn}s; {fewest} {drawn}{'s' if fewest > 1 else ''} in the smallest class"
        if fewest >= _POLYGONS_FOR_TEST:
            yield _held_out("polygons", test=0.2), seen
        if max(labels.polygons.values()) > 1:
            why = f"{seen}: too few for a test part; '{{folds: 5}}' cross-validates"
            yield _held_out("polygons"), why
    else:
        places = same_place([scene.grid for scene in scenes], touching=False)
        if len(places) >= _PLACES_FOR_FILES:
            yield _held_out("files", test=0.2), f"whole scenes; they cover {len(places)} places"
        yield _held_out("blocks", test=0.2), "square blocks with a gap between them"
        yield _held_out("blocks"), "square blocks; the labels leave no room for a test part"
    yield {"validation": 0.0}, "too few labels to hold any out: nothing is known of the accuracy"


def _held_out(by: str, test: float | None = None) -> dict[str, Any]:
    split: dict[str, Any] = {"by": by, "validation": 0.2, "refit": True}
    return split if test is None else {**split, "test": test}


def pixels_of(parts: Mapping[Part, Sequence[IndexedScene]]) -> dict[Part, Counter[int]]:
    """Return the labelled pixels of each part by class index."""
    found: dict[Part, Counter[int]] = {}
    for part, indexed in parts.items():
        found[part] = Counter()
        for one in indexed:  # adding drops classes without a pixel
            found[part] += Counter(dict(enumerate(one.index.class_counts.tolist())))
    return found
