"""Chips of labelled scenes, each read by its window on its own scene's grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from rsmeta.data.chip_cache import ChipCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio.windows import Window

    from rsmeta.data.label_reader import LabelReader
    from rsmeta.data.sampler import ChipKey
    from rsmeta.data.splits import Region
    from rsmeta.geo.chip import Chip
    from rsmeta.geo.scene import Scene


@dataclass(frozen=True)
class LabelledScene:
    """A scene, its labels, and the region of it that belongs to one part.

    Attributes:
        scene: The scene with its bands selected.
        labels: Labels on the scene's grid.
        region: What belongs to the part; none: all of the scene.
        hides_context: Imagery outside the region is invalid too, not only its labels hidden.
    """

    scene: Scene
    labels: LabelReader
    region: Region | None = None
    hides_context: bool = False

    def read_image(self, window: Window) -> Chip:
        """Read a window of the scene, as a network sees it."""
        return self.read_region(window) if self.hides_context else self.scene.read(window)

    def read_region(self, window: Window) -> Chip:
        """Read a window of the scene; pixels outside the region are invalid."""
        chip = self.scene.read(window)
        if self.region is None:
            return chip
        return replace(chip, valid=chip.valid & self.region.contains(chip.grid))

    def read_labels(self, window: Window) -> np.ndarray:
        """Read the labels of a window, (H, W); there are none outside the region."""
        labels = self.labels.read(window)
        if self.region is None:
            return labels
        seen = self.region.contains(self.scene.grid.crop(window))
        return np.where(seen, labels, no_label(labels))


class ChipDataset(Dataset[dict[str, Any]]):
    """Chips by ``ChipKey``, over scenes of any number of CRSs and grids.

    A sample holds ``image`` (C, H, W) float32 in physical units, ``valid`` (H, W) bool and
    ``mask`` (H, W): int64 class indices, -1 where unlabelled, invalid or of another part, or
    float32 numbers, NaN there.

    Args:
        scenes: The labelled scenes of one part.
        chip_px: Side of a chip; where a scene is smaller, the rest is invalid.
        cache: Keeps what was read, under the numbers of these scenes; none: nothing is kept.
    """

    def __init__(
        self, scenes: Sequence[LabelledScene], chip_px: int, cache: ChipCache | None = None
    ) -> None:
        self.scenes = tuple(scenes)
        self.chip_px = chip_px
        self.cache = cache or ChipCache(0)

    def __len__(self) -> int:
        """Return the number of scenes; the sampler decides on the number of chips."""
        return len(self.scenes)

    def __getitem__(self, key: ChipKey) -> dict[str, Any]:
        """Read one chip."""
        read = partial(sample_of, self.scenes[key.scene])
        return self.cache.read(key.scene, key.row, key.col, self.chip_px, read)


def sample_of(labelled: LabelledScene, window: Window) -> dict[str, Any]:
    """Read one window as a sample; see ``ChipDataset``."""
    chip, labels = labelled.read_image(window), labelled.read_labels(window)
    image, valid = torch.from_numpy(chip.data), torch.from_numpy(chip.valid)
    mask = torch.from_numpy(np.where(chip.valid, labels, no_label(labels)))
    return {"image": torch.where(valid, image, 0.0), "valid": valid, "mask": mask}


def no_label(labels: np.ndarray) -> Any:
    """Return what marks a pixel without label: NaN among numbers, -1 among classes."""
    return labels.dtype.type(math.nan if np.issubdtype(labels.dtype, np.floating) else -1)
