"""Everything a training run reads of images with one label each."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsmeta.data.ahead import AheadLoader
from rsmeta.data.images.build_splits import build_image_splits
from rsmeta.data.images.dataset import ImageDataset
from rsmeta.data.images.groups import read_groups
from rsmeta.data.images.image_set import Wanted
from rsmeta.data.images.sampler import (
    EveryImageSampler,
    ImageSampling,
    RandomImageSampler,
    class_counts,
)
from rsmeta.data.images.statistics import image_statistics
from rsmeta.data.images.window_cache import WindowCache
from rsmeta.data.meta_sampler import MetaBatches, MetaSampler
from rsmeta.data.splits import PARTS, Part
from rsmeta.data.streams import random_stream
from rsmeta.data.unscaled import warn_if_unscaled
from rsmeta.errors import ImagesError, SplitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.utils.data import DataLoader, Sampler

    from rsmeta.config.data import ClassSpec, SamplingName
    from rsmeta.config.images import ImageSettings
    from rsmeta.config.meta import MetaSettings
    from rsmeta.data.images.image_set import ImageSet, ImageTask
    from rsmeta.geo.bands import Band

Batch = dict[str, Any]

#: Images whose pixel size is looked at.
_SIZES = 64


class ImageDataModule:
    """Images with one label each for training, validation and testing.

    Batches hold ``image`` (B, C, chip_px, chip_px) float32 physical, ``valid``
    (B, chip_px, chip_px) bool, and ``label``: (B,) int64 class numbers, (B, K) float32 of 0 and 1
    for several classes, or (B,) float32 numbers.

    Args:
        settings: The ``data`` section.
        seed: Seed of splits, subsets and samples.
        task: What a label is.
        bands: Bands to read, by name; none: those of the settings or of the first image.
        meta: May hold out training images for the scales of the adapters.
        epochs: Epochs of the whole training, for ``sampling=progressive``.
        to_train: Every class must have training images; not needed where a model is scored.

    Raises:
        RsmetaError: Images, labels or parts cannot be used.
    """

    def __init__(
        self,
        settings: ImageSettings,
        *,
        seed: int,
        task: ImageTask = "classification",
        bands: tuple[Band, ...] | None = None,
        meta: MetaSettings | None = None,
        epochs: int = 1,
        to_train: bool = True,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.task = task
        self.epochs = epochs
        found = build_image_splits(settings, Wanted(task, seed, bands, meta, to_train))
        #: The classes in the order of their numbers; empty for regression.
        self.classes: tuple[ClassSpec, ...] = found.classes
        #: The images of each part; none where the configuration names no such part.
        self.parts: dict[Part, ImageSet | None] = {part: found.sets.get(part) for part in PARTS}
        #: Names of the images of each part that could not be read and are left out.
        self.skipped: Mapping[Part, Sequence[str]] = found.skipped
        self._train = found.sets["train"]
        self._held_out = found.held_out
        self.bands = self._train.bands
        self._cache = WindowCache(settings.cache_bytes)

    @property
    def validates(self) -> bool:
        """Whether there is a validation part."""
        return self.parts["validation"] is not None

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation per band over training images, (C,) each."""
        mean, std = image_statistics(self._train, seed=self.seed)
        warn_if_unscaled(self.settings.sensor, self.bands, mean)
        return mean, std

    @cached_property
    def target_statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of the training labels, where these are numbers.

        Raises:
            ImagesError: All are equal.
        """
        labels = self._train.labels.astype(np.float64)
        mean, std = float(labels.mean()), float(labels.std())
        if not std > 1e-9 * max(abs(mean), 1e-30):
            raise ImagesError(f"all training labels are {mean:g}; there is nothing to learn")
        return mean, std

    @property
    def class_counts(self) -> np.ndarray:
        """Training images per class, (K,) int64, without those that are held out.

        Where labels are numbers, they count together, (1,).
        """
        if not self.classes:
            return np.array([len(self._train)])
        return class_counts(self._train.labels, len(self.classes))

    @property
    def groups(self) -> Mapping[str, Sequence[int]] | None:
        """Class numbers of each group that the settings name; none: by their counts."""
        return read_groups(self.settings, [spec.name for spec in self.classes])

    @cached_property
    def gsd_range_m(self) -> tuple[float, float] | None:
        """Smallest and largest pixel size of training images in metres; none: not known."""
        rng = random_stream("pixel_sizes", self.seed)
        some = rng.permutation(len(self._train))[:_SIZES]
        known = [size for size in map(self._train.gsd_m, some.tolist()) if size is not None]
        return (min(known), max(known)) if len(known) == len(some) else None

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return training images as ``sampling`` says, random parts of them."""
        sampler = RandomImageSampler(
            self._sampling(self._train), length=self.settings.chips_per_epoch, seed=self.seed,
            epochs=self.epochs,
        )  # fmt: skip
        # A last, smaller batch is left out, unless there is no other.
        return self._loader(
            self._train, sampler, drop_last=len(sampler) >= self.settings.batch_size,
            cache=self._cache,
        )  # fmt: skip

    def meta_dataloader(
        self, meta: MetaSettings, *, steps_ahead: int = 0, first_step: int = 0
    ) -> DataLoader[Batch]:
        """Return the batches of meta steps, without end: each step's look-ahead, then its own.

        Independent of the training loader and of all global random numbers.

        Args:
            meta: What a meta step draws, and from where.
            steps_ahead: Batches of training images that come first in each step.
            first_step: Number of the meta step to begin with, from 0.
        """
        held_out = self._held_out
        sampler = MetaSampler(
            self._sampling(self._train),
            self._sampling(self._train if held_out is None else held_out, meta.sampling),
            take=MetaBatches(
                ahead=steps_ahead,
                batches=meta.batches,
                ahead_size=self.settings.batch_size,
                batch_size=meta.batch_size or self.settings.batch_size,
                ratio=meta.sample_ratio if held_out is None else 1.0,
                stratified=meta.stratified,
            ),
            seed=self.seed,
            first_step=first_step,
            offset=0 if held_out is None else len(self._train),
        )
        sets = [self._train] if held_out is None else [self._train, held_out]
        return AheadLoader(
            ImageDataset(sets, self.settings, self._cache),
            batch_sampler=sampler,
            num_workers=min(1, self.settings.workers),
            generator=torch.Generator(),
        )

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return every validation image, in order."""
        return self.ordered_dataloader("validation") if self.validates else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return every test image, in order.

        Raises:
            SplitError: The configuration names no test part.
        """
        return self.ordered_dataloader("test")

    def ordered_dataloader(self, part: Part) -> DataLoader[Batch]:
        """Return every image of a part once, in order, as in validation.

        Raises:
            SplitError: The configuration names no such part.
        """
        images = self.parts[part]
        if images is None:
            raise SplitError(f"there is no {part} part; name it with data.{part}=…")
        return self._loader(images, EveryImageSampler(len(images)), drop_last=False)

    def _sampling(self, images: ImageSet, sampling: SamplingName | None = None) -> ImageSampling:
        sampling = sampling or self.settings.sampling
        return ImageSampling(images.labels, len(self.classes), sampling=sampling)

    def _loader(
        self,
        images: ImageSet,
        sampler: Sampler[Any],
        *,
        drop_last: bool,
        cache: WindowCache | None = None,
    ) -> DataLoader[Batch]:
        return AheadLoader(
            ImageDataset([images], self.settings, cache),
            batch_size=self.settings.batch_size,
            sampler=sampler,
            num_workers=self.settings.workers,
            persistent_workers=self.settings.workers > 0,
            drop_last=drop_last,
        )
