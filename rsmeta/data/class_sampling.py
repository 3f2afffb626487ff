"""How chips and images are drawn alike: by class, epoch by epoch, shared out among processes.

Each epoch has its own random stream: the same seed gives the same chips, whatever else uses random
numbers, and a resumed run continues with the chips that were next. (TorchGeo's random samplers
choose the file with the global generator, whatever ``generator=`` says.)
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np
import torch.distributed
from torch.utils.data import Sampler

from rsmeta.data.streams import random_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.config.data import SamplingName

#: What names a chip, or an image, to the dataset that reads it.
Key = TypeVar("Key")

#: A class is drawn by its frequency to this power, where one power holds for all epochs. Steps
#: that belong to no epoch take ``progressive`` as it begins, and ``down`` without its choice.
POWERS: dict[SamplingName, float] = {
    "instance": 1.0, "progressive": 1.0, "sqrt": 0.5, "class": 0.0, "down": 0.0,
}  # fmt: skip


class ClassSampling(abc.ABC, Generic[Key]):
    """Things that are drawn by their classes: places of chips, or images.

    Args:
        sampling: ``instance`` all things alike; ``class`` classes equally often; ``sqrt`` in
            between, by the square root of a class's size; ``progressive`` from ``instance`` in
            the first epoch to ``class`` in the last; ``down`` classes equally often, each from
            as many things as the rarest has, drawn anew each epoch.
    """

    #: Random numbers that make one key.
    key_numbers: ClassVar[int]

    def __init__(self, sampling: SamplingName) -> None:
        self.sampling = sampling

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return how many things there are, N."""

    @abc.abstractmethod
    def key(self, cumulative: np.ndarray, numbers: np.ndarray, *, first: int = 0) -> Key:
        """Return what random numbers stand for.

        Args:
            cumulative: Cumulative probability of the things, (N,).
            numbers: Random numbers in [0, 1), (``key_numbers``,).
            first: Where its own numbering of scenes, or images, begins.
        """

    def cumulative(self, chosen: np.ndarray | None = None) -> np.ndarray:
        """Return the cumulative probability of the things, (N,), whatever the epoch.

        Args:
            chosen: Indices of the things that may be drawn; none: all.
        """
        return self._cumulative(POWERS[self.sampling], chosen)

    def sample(self, rng: np.random.Generator, ratio: float, *, stratified: bool) -> np.ndarray:
        """Return the indices of a share of the things.

        Args:
            rng: Draws them.
            ratio: The share.
            stratified: Draw that share of every class.
        """
        strata = self._strata() if stratified else np.zeros(len(self), np.int64)
        chosen = []
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            wanted = max(1, round(ratio * len(members)))
            chosen.append(rng.choice(members, wanted, replace=False))
        return np.concatenate(chosen)

    def hit(self, cumulative: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the indices of the things that random numbers in [0, 1) fall on."""
        found = np.searchsorted(cumulative, places, side="right")
        return np.minimum(found, len(self) - 1)

    def _by_progress(self, progress: float) -> np.ndarray:
        """Return the cumulative probability in an epoch, (N,); of ``down`` that of all things."""
        if self.sampling != "progressive":
            return self.cumulative()
        return (1 - progress) * self._cumulative(1.0) + progress * self._cumulative(0.0)

    @abc.abstractmethod
    def _cumulative(self, power: float, chosen: np.ndarray | None = None) -> np.ndarray:
        """Return the cumulative probability where classes are drawn by their size to a power."""

    @abc.abstractmethod
    def _strata(self) -> np.ndarray:
        """Return the class that each thing counts for, (N,)."""


class EpochSampler(Sampler[Key], abc.ABC):
    """Draws anew in each epoch.

    Args:
        length: Keys in an epoch, over all processes.
        seed: Seed of the random numbers.
        epochs: Epochs of the whole training, for what changes as it goes on.
    """

    def __init__(self, *, length: int, seed: int = 0, epochs: int = 1) -> None:
        self._length = length
        self._seed = seed
        self._epochs = epochs
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Yield the keys of this epoch next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return how many this process reads in an epoch."""
        return self._length // world()[1]

    def __iter__(self) -> Iterator[Key]:
        """Yield what this process reads in the epoch."""
        rank, size = world()
        rng = random_stream("epoch", self._seed, self._epoch)
        return self._keys(rng, slice(rank, len(self) * size, size))

    @property
    def _progress(self) -> float:
        """How far training is, from 0 in the first epoch to 1 in the last."""
        return min(1.0, self._epoch / (self._epochs - 1)) if self._epochs > 1 else 0.0

    @abc.abstractmethod
    def _keys(self, rng: np.random.Generator, mine: slice) -> Iterator[Key]:
        """Draw the keys of the epoch for all processes; yield those of the slice."""


class InOrderSampler(Sampler[Key], abc.ABC):
    """Everything there is, once and in order.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._every = range(count)

    def __len__(self) -> int:
        """Return how many this process reads."""
        rank, size = world()
        return len(self._every[rank::size])

    def __iter__(self) -> Iterator[Key]:
        """Yield what this process reads."""
        rank, size = world()
        return map(self._key, self._every[rank::size])

    @abc.abstractmethod
    def _key(self, index: int) -> Key:
        """Return the key of the one with that index."""


def strata_of(members: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return a class for each of several things, (N,): its own, or the rarest of several.

    Args:
        members: The class of each (N,), or how far it belongs to each class (N, K), from 0.
        counts: Size of each class, (K,).
    """
    if members.ndim == 1:
        return members
    order = np.argsort(counts, kind="stable")
    strata: np.ndarray = np.argmax(members[:, order] > 0, axis=1)
    return strata


def world() -> tuple[int, int]:
    """Return rank and number of the processes that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
