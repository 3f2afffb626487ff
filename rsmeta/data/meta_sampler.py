"""What meta steps read: chips drawn anew for each step, from a random stream of their own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import Sampler

from rsmeta.data.class_sampling import world
from rsmeta.data.streams import random_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.data.class_sampling import ClassSampling


@dataclass(frozen=True)
class MetaBatches:
    """What one meta step takes.

    Args:
        ahead: Batches of training chips, for strategies that look ahead.
        batches: Batches that the scales are judged by.
        ahead_size: Chips in a look-ahead batch, per process.
        batch_size: Chips in a batch that the scales are judged by, per process.
        ratio: Share of the labelled cells, or images, that the batches may fall on, drawn anew.
        stratified: Draw that share of every class.
    """

    ahead: int
    batches: int
    ahead_size: int
    batch_size: int
    ratio: float
    stratified: bool


class MetaSampler(Sampler[list[Any]]):
    """Batches of chips for meta steps, without end: each step's look-ahead, then its own.

    A step's chips follow from the seed and the number of the step alone, so that a resumed run
    goes on with the chips that were next. Processes that train together share them out.

    Args:
        training: What the look-ahead batches are drawn from.
        judged: What the batches that judge the scales are drawn from; the same, or held out.
        take: What one step takes.
        seed: Seed of the random numbers.
        first_step: Number of the step to begin with, from 0.
        offset: Added to the number of a scene, or image, of ``judged``.
    """

    def __init__(
        self,
        training: ClassSampling[Any],
        judged: ClassSampling[Any],
        *,
        take: MetaBatches,
        seed: int,
        first_step: int = 0,
        offset: int = 0,
    ) -> None:
        self._training = training
        self._judged = judged
        self._take = take
        self._seed = seed
        self._first_step = first_step
        self._offset = offset
        self._all = training.cumulative() if take.ahead else None

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield this process's chips, batch by batch, from the first step on."""
        for step in itertools.count(self._first_step):
            yield from self._step(step)

    def _step(self, step: int) -> Iterator[list[Any]]:
        rng = random_stream("meta_step", self._seed, step)
        rank, size = world()
        take, judged = self._take, self._judged
        for _ in range(take.ahead):
            assert self._all is not None
            numbers = rng.random((take.ahead_size * size, self._training.key_numbers))[rank::size]
            yield [self._training.key(self._all, one) for one in numbers]
        chosen = judged.sample(rng, take.ratio, stratified=take.stratified)
        sample = judged.cumulative(chosen)
        for _ in range(take.batches):
            numbers = rng.random((take.batch_size * size, judged.key_numbers))[rank::size]
            yield [judged.key(sample, one, first=self._offset) for one in numbers]
