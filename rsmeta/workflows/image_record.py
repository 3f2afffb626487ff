"""Record in a bundle how images were read and resized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.bundle.record import ImageRecord
from rsmeta.config.images import ImageFileSettings
from rsmeta.data.datamodule import SceneDataModule

if TYPE_CHECKING:
    from rsmeta.tasks.base import TrainingData

#: Number of images whose size is checked.
_SAMPLES = 32

#: Sides within this factor count as equal.
_SIZE_TOLERANCE = 1.05


def image_record(data: TrainingData) -> ImageRecord | None:
    """Return how the images of a run were resized; none if labels are per pixel."""
    if isinstance(data, SceneDataModule):
        return None
    settings = data.settings
    if not isinstance(settings, ImageFileSettings):  # chips keep their size
        return ImageRecord(ground_px=settings.chip_px)
    return ImageRecord(
        colour=settings.colour,
        resize=settings.resize,
        resize_px=settings.resize_px,
        ground_px=_footprint_px(data, settings),
    )


def _footprint_px(data: TrainingData, settings: ImageFileSettings) -> int | None:
    """Return the side of an image in its own pixels; none if images differ in size."""
    if settings.resize == "none":
        return settings.chip_px
    images = data.parts["train"]
    assert images is not None
    assert not isinstance(images, list)
    chosen = np.linspace(0, len(images) - 1, min(_SAMPLES, len(images))).astype(int)
    sides = [images.read(int(i)).valid.shape for i in chosen]
    shorter, longer = ([f(side) for side in sides] for f in (min, max))
    used = longer if settings.resize == "fit" else shorter
    differ = max(used) > _SIZE_TOLERANCE * min(used)
    if differ or (settings.resize == "squash" and longer != shorter):
        return None
    side = float(np.median(used))
    if settings.resize == "shorter":
        side *= settings.chip_px / (settings.resize_px or round(settings.chip_px / 0.875))
    return max(1, round(side))
