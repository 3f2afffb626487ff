"""Which images are read in an epoch, and how often each class.

A key names an image and the random crop of it that is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rsmeta.data.class_sampling import ClassSampling, EpochSampler, InOrderSampler, strata_of
from rsmeta.data.images.resize import RandomCrop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.config.data import SamplingName


class ImageKey(NamedTuple):
    """One image: its number, and its random crop; none: as in validation."""

    image: int
    crop: RandomCrop | None = None


class ImageSampling(ClassSampling[ImageKey]):
    """Draws images of a part by their classes.

    Args:
        labels: As in ``ImageSet``; numbers count as one class.
        classes: Number of classes.
        sampling: As in ``ClassSampling``.
    """

    #: Random numbers for one key: the image, and four for its crop.
    key_numbers = 1 + len(RandomCrop._fields)

    def __init__(
        self, labels: np.ndarray, classes: int, *, sampling: SamplingName = "instance"
    ) -> None:
        super().__init__(sampling)
        self._labels = labels
        self._several = labels.ndim == 2
        if not self._several and not np.issubdtype(labels.dtype, np.integer):
            self._labels, classes = np.zeros(len(labels), np.int64), 1
        self.counts = class_counts(self._labels, classes)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._labels)

    def of_epoch(
        self, rng: np.random.Generator, *, progress: float, length: int | None
    ) -> np.ndarray:
        """Return the images of one epoch, in the order in which they are read.

        Args:
            rng: Draws them.
            progress: Share of the training that lies behind, from 0 to 1 in the last epoch.
            length: Images in an epoch; none: as many as there are.
        """
        if self.sampling == "down":
            return _rounds(self._as_many_as_the_rarest(rng), length, rng)
        if self.sampling == "instance":
            return _rounds(np.arange(len(self)), length, rng)
        places = rng.random(length or len(self))
        return self.hit(self._by_progress(progress), places)

    def epoch_length(self, length: int | None) -> int:
        """Return the number of images in an epoch, where the settings say ``length``."""
        if self.sampling != "down":
            return length or len(self)
        present = self.counts[self.counts > 0]
        most = int(present.min()) * len(present)
        if self._several:  # an image of two classes is read once
            most = len(self._as_many_as_the_rarest(np.random.default_rng(0)))
        return length or most

    def _strata(self) -> np.ndarray:
        return strata_of(self._labels, self.counts)

    def key(self, cumulative: np.ndarray, numbers: np.ndarray, *, first: int = 0) -> ImageKey:
        """Return the image that random numbers in [0, 1) stand for, and its crop."""
        hit = int(self.hit(cumulative, numbers[0]))
        return ImageKey(hit + first, RandomCrop(*numbers[1:].tolist()))

    def _cumulative(self, power: float, chosen: np.ndarray | None = None) -> np.ndarray:
        allowed = np.zeros(len(self)) if chosen is not None else np.ones(len(self))
        if chosen is not None:
            allowed[chosen] = 1.0
        labels = self._labels
        if self._several:
            totals = (labels * allowed[:, np.newaxis]).sum(axis=0, dtype=np.float64)
        else:
            totals = np.bincount(labels, weights=allowed, minlength=len(self.counts))
        share = np.where(totals > 0, np.maximum(totals, 1.0) ** (power - 1), 0.0)
        weight = allowed * (labels @ share if self._several else share[labels])
        return np.cumsum(weight / weight.sum())

    def _as_many_as_the_rarest(self, rng: np.random.Generator) -> np.ndarray:
        order = rng.permutation(len(self))
        fewest = int(self.counts[self.counts > 0].min())
        if self._several:
            members = [order[self._labels[order, k] > 0] for k in range(len(self.counts))]
            return np.unique(np.concatenate([one[:fewest] for one in members]))
        by_class = order[np.argsort(self._labels[order], kind="stable")]
        starts = np.cumsum(self.counts) - self.counts
        rank = np.arange(len(self)) - starts[self._labels[by_class]]
        kept: np.ndarray = by_class[rank < fewest]
        return kept


class RandomImageSampler(EpochSampler[ImageKey]):
    """Images of an epoch with random crops, drawn anew each epoch.

    Args:
        sampling: Says which images may be drawn, and how often.
        length: Images in an epoch, over all processes; none: as many as there are.
        seed: Seed of the random numbers.
        epochs: Epochs of the whole training, for ``progressive``.
    """

    def __init__(
        self, sampling: ImageSampling, *, length: int | None = None, seed: int = 0, epochs: int = 1
    ) -> None:
        super().__init__(length=sampling.epoch_length(length), seed=seed, epochs=epochs)
        self._sampling = sampling

    def _keys(self, rng: np.random.Generator, mine: slice) -> Iterator[ImageKey]:
        images = self._sampling.of_epoch(rng, progress=self._progress, length=self._length)
        crops = rng.random((self._length, len(RandomCrop._fields)))
        for image, crop in zip(images[mine].tolist(), crops[mine].tolist(), strict=True):
            yield ImageKey(image, RandomCrop(*crop))


class EveryImageSampler(InOrderSampler[ImageKey]):
    """Every image once, in order.

    Args:
        count: Number of images.
    """

    def _key(self, index: int) -> ImageKey:
        return ImageKey(index)


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the images of each class, (K,) int64; an image of several counts for each."""
    if labels.ndim == 2:
        several: np.ndarray = (labels > 0).sum(axis=0)
        return several.astype(np.int64)
    return np.bincount(labels, minlength=classes).astype(np.int64)


def _rounds(images: np.ndarray, length: int | None, rng: np.random.Generator) -> np.ndarray:
    """Return the images in random order, again and again until there are enough."""
    wanted = length or len(images)
    rounds = -(-wanted // len(images))
    return np.concatenate([rng.permutation(images) for _ in range(rounds)])[:wanted]
