"""Everything a training run reads: scenes, labels, split, statistics, loaders."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from rsmeta.data.ahead import AheadLoader
from rsmeta.data.build_splits import build_splits
from rsmeta.data.chip_cache import ChipCache
from rsmeta.data.chips import ChipDataset
from rsmeta.data.held_out_split import held_out_split
from rsmeta.data.meta_sampler import MetaBatches, MetaSampler
from rsmeta.data.packing import Packing
from rsmeta.data.quantities import target_statistics
from rsmeta.data.sampler import CellSampling, GridChipSampler, RandomChipSampler
from rsmeta.data.statistics import band_statistics
from rsmeta.data.unscaled import say_radar_units, warn_if_unscaled
from rsmeta.errors import SplitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.data import Dataset, Sampler

    from rsmeta.config.data import ClassSpec, DataSettings, SamplingName
    from rsmeta.config.meta import MetaSettings
    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.splits import Part
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.sensors import Band

Batch = dict[str, Any]

#: Batches in an epoch where its length follows from the labelled area.
_FEWEST_STEPS, _MOST_STEPS = 10, 200


class SceneDataModule:
    """Chips of labelled scenes for training, validation and testing.

    Batches hold ``image`` (B, C, H, W) float32 physical, ``valid`` (B, H, W) bool and ``mask``
    (B, H, W): int64 classes, -1 where unlabelled, or float32 numbers, NaN there.

    Args:
        settings: The ``data`` section.
        seed: Seed of the split and of the chips.
        bands: Bands to read, by name; none: those of the settings or of the first scene.
        meta: May hold out a share of the training part for the scales of the adapters.
        epochs: Epochs of the whole training, for ``sampling=progressive``.
        train_on_validation: Whether the validation part belongs to the training part.

    Attributes:
        one_validation_step: Whether validation is one step that reads no chips, because the
            labelled area is mapped in it.

    Raises:
        RsmetaError: A scene, its bands, its labels or the split cannot be used.
    """

    one_validation_step = False

    def __init__(
        self,
        settings: DataSettings,
        *,
        seed: int,
        bands: tuple[Band, ...] | None = None,
        meta: MetaSettings | None = None,
        epochs: int = 1,
        train_on_validation: bool = False,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.epochs = epochs
        self.parts = build_splits(
            settings, seed=seed, bands=bands, train_on_validation=train_on_validation
        )
        self.bands = self.parts["train"][0].labelled.scene.bands
        self._held_out: list[IndexedScene] = []
        if meta is not None and meta.learned and meta.source == "held_out":
            self.parts["train"], self._held_out = held_out_split(
                self.parts["train"], meta.held_out, settings=settings, seed=seed
            )
        scenes = [p.labelled.scene for p in (*self.parts["train"], *self._held_out)]
        self._cache = ChipCache(settings.cache_bytes, [Packing.of(scene) for scene in scenes])

    def with_validation_labels(self) -> SceneDataModule:
        """Return the same data whose validation part belongs to the training part."""
        return SceneDataModule(
            self.settings, seed=self.seed, bands=self.bands, epochs=self.epochs,
            train_on_validation=True,
        )  # fmt: skip

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """The classes in the order of their indices; empty where labels are numbers."""
        return self.settings.classes

    @property
    def validates(self) -> bool:
        """Whether there is a validation part."""
        return bool(self.parts["validation"])

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation per band over the training part, (C,) each."""
        scenes = [p.labelled for p in self.parts["train"]]
        mean, std = band_statistics(scenes, seed=self.seed)
        if scenes[0].scene.dtype != "uint8":  # 8-bit values are made for display
            warn_if_unscaled(scenes[0].scene.sensor or self.settings.sensor, self.bands, mean)
        say_radar_units(self.bands, mean)
        return mean, std

    @cached_property
    def target_statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of the training labels, where these are numbers."""
        return target_statistics([p.labelled for p in self.parts["train"]])

    @property
    def class_counts(self) -> np.ndarray:
        """Labelled training pixels per class, (K,) int64; of numbers all together, (1,)."""
        counts: np.ndarray = np.sum([p.index.class_counts for p in self.parts["train"]], axis=0)
        return counts

    @property
    def chips_per_epoch(self) -> int:
        """Training chips in an epoch: as set, or by the labelled area.

        Labels near each other resemble each other, so that steps grow by the square root of the
        area: 10 in an epoch for a few polygons, 50 for some 160,000 labelled pixels.
        """
        if self.settings.chips_per_epoch is not None:
            return self.settings.chips_per_epoch
        cells = sum(len(part.index.cells) for part in self.parts["train"])
        steps = min(max(math.ceil(2 * math.sqrt(cells)), _FEWEST_STEPS), _MOST_STEPS)
        return steps * self.settings.batch_size

    @property
    def gsd_range_m(self) -> tuple[float, float] | None:
        """Smallest and largest pixel size of the training scenes in metres, if known."""
        sizes = [p.labelled.scene.grid.gsd_m for p in self.parts["train"]]
        known = [size for size in sizes if size is not None]
        return (min(known), max(known)) if known else None

    @property
    def train_grids(self) -> list[Grid]:
        """Grids of the training scenes."""
        return [p.labelled.scene.grid for p in self.parts["train"]]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return random chips where training labels are."""
        sampler = RandomChipSampler(
            self._sampling(self.parts["train"]), length=self.chips_per_epoch,
            seed=self.seed, epochs=self.epochs,
        )  # fmt: skip
        return self._loader(self._chips(self.parts["train"]), sampler, drop_last=True)

    def meta_dataloader(
        self, meta: MetaSettings, *, steps_ahead: int = 0, first_step: int = 0
    ) -> DataLoader[Batch]:
        """Return the batches of meta steps, without end: each step's look-ahead, then its own.

        Independent of the training loader and of all global random numbers.

        Args:
            meta: What a meta step draws, and from where.
            steps_ahead: Batches of training chips that come first in each step.
            first_step: Number of the meta step to begin with, from 0.
        """
        train, judged = self.parts["train"], self._held_out or self.parts["train"]
        sampler = MetaSampler(
            self._sampling(train),
            self._sampling(judged, meta.sampling),
            take=MetaBatches(
                ahead=steps_ahead,
                batches=meta.batches,
                ahead_size=self.settings.batch_size,
                batch_size=meta.batch_size or self.settings.batch_size,
                ratio=1.0 if self._held_out else meta.sample_ratio,
                stratified=meta.stratified,
            ),
            seed=self.seed,
            first_step=first_step,
            offset=len(train) if self._held_out else 0,
        )
        return AheadLoader(
            self._chips([*train, *self._held_out]),
            batch_sampler=sampler,
            num_workers=min(1, self.settings.workers),
            generator=torch.Generator(),
        )

    def ordered_dataloader(self, part: Part) -> DataLoader[Batch]:
        """Return every chip of a part with a label, once and in order.

        Raises:
            SplitError: There is no such part.
        """
        if not self.parts[part]:
            raise SplitError(
                f"there is no {part} part; name data.{part}_scenes=[...] or set "
                f"data.split.{part}=0.2"
            )
        return self._grid_loader(part)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return every validation chip with a label, in order; or one empty step."""
        if not self.parts["validation"]:
            return []
        if self.one_validation_step:
            return DataLoader(cast("Dataset[Any]", [{}]))
        return self._grid_loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return every test chip with a label, in order.

        Raises:
            SplitError: The configuration names no test part.
        """
        return self.ordered_dataloader("test")

    def _sampling(
        self, parts: Sequence[IndexedScene], sampling: SamplingName | None = None
    ) -> CellSampling:
        return CellSampling(
            [p.index for p in parts],
            [(p.labelled.scene.grid.height_px, p.labelled.scene.grid.width_px) for p in parts],
            chip_px=self.settings.chip_px,
            sampling=sampling or self.settings.sampling,
        )

    def _grid_loader(self, part: Part) -> DataLoader[Batch]:
        sampler = GridChipSampler(
            [p.index for p in self.parts[part]], chip_px=self.settings.chip_px
        )
        # Each is read once in a pass: what is kept is for the chips of training.
        dataset = ChipDataset([p.labelled for p in self.parts[part]], self.settings.chip_px)
        return self._loader(dataset, sampler, drop_last=False)

    def _chips(self, parts: Sequence[IndexedScene]) -> ChipDataset:
        """Return chips of the scenes of training, then of those held out of it; they are kept."""
        return ChipDataset([p.labelled for p in parts], self.settings.chip_px, self._cache)

    def _loader(
        self, dataset: ChipDataset, sampler: Sampler[Any], *, drop_last: bool
    ) -> DataLoader[Batch]:
        return AheadLoader(
            dataset,
            batch_size=self.settings.batch_size,
            sampler=sampler,
            num_workers=self.settings.workers,
            persistent_workers=self.settings.workers > 0,
            drop_last=drop_last,
        )
