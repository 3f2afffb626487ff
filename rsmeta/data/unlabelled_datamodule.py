"""Everything a pretraining run reads: scenes, valid windows, statistics, a loader."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rsmeta.data.ahead import AheadLoader
from rsmeta.data.chip_cache import ChipCache
from rsmeta.data.open_scenes import open_scenes, wanted_bands
from rsmeta.data.packing import Packing
from rsmeta.data.statistics import band_statistics
from rsmeta.data.streams import random_stream
from rsmeta.data.unlabelled_chips import UnlabelledChips, UnlabelledSampler, index_unlabelled
from rsmeta.errors import TrainingError, counted

if TYPE_CHECKING:
    import numpy as np
    from rasterio.windows import Window
    from torch.utils.data import DataLoader

    from rsmeta.config.pretrain import GroundSettings
    from rsmeta.geo.chip import Chip
    from rsmeta.geo.scene import Scene

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _WholeScene:
    """A scene of which all pixels may be read."""

    scene: Scene

    def read_region(self, window: Window) -> Chip:
        return self.scene.read(window)


class UnlabelledDataModule:
    """Chips of unlabelled scenes.

    Batches hold ``image`` (B, C, H, W) float32 physical and ``valid`` (B, H, W) bool.

    Args:
        settings: The ``data`` section.
        seed: Seed of the random numbers.

    Raises:
        RsmetaError: A scene or its bands cannot be used, or no window has enough valid pixels.
    """

    #: There is nothing to validate on.
    validates = False

    def __init__(self, settings: GroundSettings, *, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        opened = open_scenes(settings, settings.scenes)
        wanted = wanted_bands(settings, opened[0])
        self.scenes = tuple(scene.select(wanted) for scene in opened)
        self.bands = self.scenes[0].bands
        rng = random_stream("unlabelled", seed)
        self.indexes = tuple(
            index_unlabelled(scene, settings.chip_px, min_valid=settings.min_valid, rng=rng)
            for scene in self.scenes
        )
        found = sum(len(index.corners) for index in self.indexes)
        if not found:
            raise TrainingError(
                f"no window of {settings.chip_px} x {settings.chip_px} pixels in "
                f"{counted(len(self.scenes), 'scene')} is valid for "
                f"data.min_valid={settings.min_valid:g}; check data.nodata, or lower "
                f"data.min_valid or data.chip_px"
            )
        logger.info("%s, %s with enough valid pixels", counted(len(self.scenes), "scene"),
                    counted(found, "window"))  # fmt: skip

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation per band over the valid pixels, (C,) each."""
        return band_statistics([_WholeScene(scene) for scene in self.scenes], seed=self.seed)

    @cached_property
    def dataset(self) -> UnlabelledChips:
        """All chips there are."""
        settings = self.settings
        cache = ChipCache(settings.cache_bytes, [Packing.of(scene) for scene in self.scenes])
        return UnlabelledChips(self.scenes, settings.chip_px, settings.min_valid, cache)

    def train_sampler(self) -> UnlabelledSampler:
        """Return the chips of the first epoch; later ones follow with ``set_epoch``."""
        return UnlabelledSampler(
            self.indexes,
            [(scene.grid.height_px, scene.grid.width_px) for scene in self.scenes],
            chip_px=self.settings.chip_px,
            length=self.settings.chips_per_epoch,
            seed=self.seed,
        )

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return random chips with enough valid pixels."""
        return AheadLoader(
            self.dataset,
            batch_size=self.settings.batch_size,
            sampler=self.train_sampler(),
            num_workers=self.settings.workers,
            persistent_workers=self.settings.workers > 0,
            drop_last=True,
        )
