"""Everything a training run reads: scenes, labels, split, statistics, loaders."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from rsmeta.data.assemble import assemble
from rsmeta.data.chips import ChipDataset
from rsmeta.data.sampler import GridChipSampler, RandomChipSampler
from rsmeta.data.statistics import band_statistics
from rsmeta.data.torchgeo_compat import stack_samples
from rsmeta.errors import SplitError

if TYPE_CHECKING:
    from torch.utils.data import Sampler

    from rsmeta.config.data import DataSettings
    from rsmeta.data.splits import Part
    from rsmeta.geo.sensors import Band

Batch = dict[str, Any]


class SceneDataModule(LightningDataModule):
    """Chips of labelled scenes for training, validation and testing.

    Batches hold ``image`` (B, C, H, W) float32 physical, ``valid`` (B, H, W) bool and ``mask``
    (B, H, W) int64, -1 where unlabelled.

    Args:
        settings: The ``data`` section.
        seed: Seed of the split and of the draws.
        bands: Bands to read, by name; none: those of the settings or of the first scene.

    Raises:
        RsmetaError: A scene, its bands, its labels or the split cannot be used.
    """

    def __init__(
        self, settings: DataSettings, *, seed: int, bands: tuple[Band, ...] | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.seed = seed
        self.parts = assemble(settings, seed=seed, bands=bands)
        self.bands = self.parts["train"][0].labelled.scene.bands

    @property
    def validates(self) -> bool:
        """Whether there is a validation part."""
        return bool(self.parts["validation"])

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation per band over training ground, (C,) each."""
        return band_statistics([p.labelled for p in self.parts["train"]], seed=self.seed)

    @property
    def class_counts(self) -> np.ndarray:
        """Labelled training pixels per class, (K,) int64."""
        counts: np.ndarray = np.sum([p.index.class_counts for p in self.parts["train"]], axis=0)
        return counts

    @property
    def gsd_range_m(self) -> tuple[float, float] | None:
        """Smallest and largest pixel size of the training scenes in metres, if known."""
        sizes = [p.labelled.scene.grid.gsd_m for p in self.parts["train"]]
        known = [size for size in sizes if size is not None]
        return (min(known), max(known)) if known else None

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return random chips where training labels are."""
        parts = self.parts["train"]
        sampler = RandomChipSampler(
            [p.index for p in parts],
            [(p.labelled.scene.grid.height_px, p.labelled.scene.grid.width_px) for p in parts],
            chip_px=self.settings.chip_px,
            length=self.settings.chips_per_epoch,
            sampling=self.settings.sampling,
            seed=self.seed,
        )
        return self._loader("train", sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return every validation chip with a label, in order."""
        return self._grid_loader("validation") if self.parts["validation"] else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return every test chip with a label, in order.

        Raises:
            SplitError: The configuration names no test part.
        """
        if not self.parts["test"]:
            raise SplitError(
                "there is no test part; name data.test_scenes=[...] or set data.split.test=0.2"
            )
        return self._grid_loader("test")

    def _grid_loader(self, part: Part) -> DataLoader[Batch]:
        sampler = GridChipSampler(
            [p.index for p in self.parts[part]], chip_px=self.settings.chip_px
        )
        return self._loader(part, sampler, drop_last=False)

    def _loader(self, part: Part, sampler: Sampler[Any], *, drop_last: bool) -> DataLoader[Batch]:
        dataset = ChipDataset([p.labelled for p in self.parts[part]], self.settings.chip_px)
        return DataLoader(
            dataset,
            batch_size=self.settings.batch_size,
            sampler=sampler,
            num_workers=self.settings.workers,
            persistent_workers=self.settings.workers > 0,
            collate_fn=stack_samples,
            drop_last=drop_last,
        )
