"""What a bundle says of how images were read and sized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.bundle.record import ImageRecord
from rsmeta.config.images import ImageFileSettings
from rsmeta.data.datamodule import SceneDataModule

if TYPE_CHECKING:
    from rsmeta.tasks.base import TrainingData

#: Images whose size is looked at.
_SIZES = 32

#: Sides that differ by less than this count as equal.
_ALIKE = 1.05


def image_record(data: TrainingData) -> ImageRecord | None:
    """Return how the images of a run were sized; none where pixels have labels."""
    if isinstance(data, SceneDataModule):
        return None
    settings = data.settings
    if not isinstance(settings, ImageFileSettings):  # chips, cut at their size
        return ImageRecord(ground_px=settings.chip_px)
    return ImageRecord(
        colour=settings.colour,
        resize=settings.resize,
        resize_px=settings.resize_px,
        ground_px=_ground_px(data, settings),
    )


def _ground_px(data: TrainingData, settings: ImageFileSettings) -> int | None:
    if settings.resize == "none":
        return settings.chip_px
    images = data.parts["train"]
    assert images is not None
    assert not isinstance(images, list)
    chosen = np.linspace(0, len(images) - 1, min(_SIZES, len(images))).astype(int)
    sides = [images.read(int(i)).valid.shape for i in chosen]
    shorter, longer = ([f(side) for side in sides] for f in (min, max))
    used = longer if settings.resize == "fit" else shorter
    if max(used) > _ALIKE * min(used) or (settings.resize == "squash" and longer != shorter):
        return None
    side = float(np.median(used))
    if settings.resize == "shorter":
        side *= settings.chip_px / (settings.resize_px or round(settings.chip_px / 0.875))
    return max(1, round(side))
