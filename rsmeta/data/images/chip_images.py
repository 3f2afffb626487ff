"""Chips cut out of labelled scenes, each with the class that most of its pixels have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rasterio.windows import Window

from rsmeta.data.build_splits import build_splits
from rsmeta.data.held_out_split import held_out_split
from rsmeta.data.images.image_set import Found, ImageSet, Pixels
from rsmeta.errors import ImagesError, SplitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.images.image_set import ImageTask, Wanted
    from rsmeta.data.images.kinds.chips import ChipsSettings
    from rsmeta.data.splits import Part
    from rsmeta.geo.bands import Band


class _Place(NamedTuple):
    """A chip's place: number of the scene, row and column of its upper left pixel."""

    scene: int
    row: int
    col: int


class ChipImages(ImageSet):
    """Chips of scenes, each read when it is asked for.

    Args:
        parts: The scenes as one part sees them.
        places: (scene, row, column) of every chip, (N, 3) int64.
        labels: See ``ImageSet``.
        chip_px: Side of a chip.
    """

    def __init__(
        self, parts: Sequence[IndexedScene], places: np.ndarray, labels: np.ndarray, chip_px: int
    ) -> None:
        super().__init__(labels)
        self.scenes = tuple(part.labelled for part in parts)
        self.places = places
        self.chip_px = chip_px

    @property
    def bands(self) -> tuple[Band, ...]:
        """Bands of the scenes."""
        return self.scenes[0].scene.bands

    def name(self, index: int) -> str:
        """Return scene and place of a chip."""
        scene, row, col = self.places[index].tolist()
        return f"{self.scenes[scene].scene.name} (row {row}, column {col})"

    def read(self, index: int) -> Pixels:
        """Read a chip; what its part may not see is invalid."""
        number, row, col = self.places[index].tolist()
        labelled = self.scenes[number]
        chip = labelled.read_region(Window(col, row, self.chip_px, self.chip_px))
        return Pixels(chip.data, chip.valid)

    def gsd_m(self, index: int) -> float | None:
        """Return the size of a scene's pixels in metres."""
        return self.scenes[int(self.places[index, 0])].scene.grid.gsd_m

    def _keep(self, indices: np.ndarray) -> None:
        self.places = self.places[indices]


def find_chips(settings: ChipsSettings, wanted: Wanted) -> Found:
    """Cut labelled scenes into chips, part by part; no pixel is in two parts.

    Args:
        settings: The ``data`` section.
        wanted: Task, seed, bands, and what is held out for the scales of the adapters.

    Raises:
        RsmetaError: Scenes or labels cannot be used, or no chip has a class.
    """
    if wanted.task == "regression":
        raise ImagesError("data.kind=chips gives classes; for task=regression use data.kind=index")
    parts = build_splits(settings, seed=wanted.seed, bands=wanted.bands)
    held: list[IndexedScene] = []
    meta = wanted.meta
    if meta is not None and meta.learned and meta.source == "held_out":
        parts["train"], held = held_out_split(
            parts["train"], meta.held_out, settings=settings, seed=wanted.seed
        )
    sets: dict[Part, ImageSet] = {
        part: _chips_of(scenes, settings, wanted.task, part)
        for part, scenes in parts.items()
        if scenes
    }
    held_out = _chips_of(held, settings, wanted.task, "held-out") if held else None
    return Found(tuple(spec.name for spec in settings.classes or ()), sets, held_out=held_out)


def _chips_of(
    parts: Sequence[IndexedScene], settings: ChipsSettings, task: ImageTask, name: str
) -> ChipImages:
    places: list[_Place] = []
    labels: list[np.ndarray] = []
    for number, part in enumerate(parts):
        for row, cols, shares in _rows_of_shares(part, settings):
            for col, share in zip(cols, shares, strict=True):
                counts = share.sum() if task == "multilabel" else share.max()
                if counts >= settings.majority:
                    places.append(_Place(number, row, col))
                    labels.append(share)
    if not places:
        kind = "labelled" if task == "multilabel" else "of one class"
        raise SplitError(
            f"the {name} part has no chip of {settings.chip_px} px of which "
            f"{settings.majority:g} is {kind}; lower data.majority, data.chip_px or data.stride_px"
        )
    shares = np.stack(labels)
    given = (
        (shares >= settings.present).astype(np.float32)
        if task == "multilabel"
        else shares.argmax(axis=1).astype(np.int64)
    )
    return ChipImages(parts, np.array(places, np.int64), given, settings.chip_px)


def _rows_of_shares(
    part: IndexedScene, settings: ChipsSettings
) -> list[tuple[int, list[int], np.ndarray]]:
    """Return row, columns and the classes' shares of pixels (n, K) of every row of chips."""
    scene = part.labelled.scene
    chip, stride = settings.chip_px, settings.stride_px or settings.chip_px
    cols = list(range(0, scene.grid.width_px - chip + 1, stride))
    found: list[tuple[int, list[int], np.ndarray]] = []
    for row in range(0, scene.grid.height_px - chip + 1, stride):
        window = Window(0, row, scene.grid.width_px, chip)
        classes = part.labelled.read_labels(window)
        if not cols or not (classes >= 0).any():
            continue
        classes[~scene.read(window).valid] = -1
        found.append((row, cols, _shares(classes, cols, chip, settings.strata)))
    return found


def _shares(labels: np.ndarray, cols: Sequence[int], chip: int, classes: int) -> np.ndarray:
    """Return each class's share of the pixels of chips that lie in one row, (n, K)."""
    per_column = np.stack([(labels == k).sum(axis=0) for k in range(classes)], axis=1)
    summed = np.concatenate([np.zeros((1, classes), np.int64), np.cumsum(per_column, axis=0)])
    starts = np.array(cols)
    shares: np.ndarray = (summed[starts + chip] - summed[starts]) / chip**2
    return shares
