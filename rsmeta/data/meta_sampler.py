"""What the outer loop reads: fresh draws of chips, step by step, from a stream of their own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import Sampler

from rsmeta.data.class_sampling import world
from rsmeta.data.streams import random_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.data.class_sampling import Draw


@dataclass(frozen=True)
class MetaDraw:
    """What one outer step takes.

    Args:
        inner: Batches of training chips, for strategies that look ahead.
        outer: Batches that the scales answer to.
        inner_size: Chips in an inner batch, per process.
        outer_size: Chips in an outer batch, per process.
        ratio: Share of the labelled cells, or images, that the outer batches may fall on, drawn
            anew.
        stratified: Draw that share of every class.
    """

    inner: int
    outer: int
    inner_size: int
    outer_size: int
    ratio: float
    stratified: bool


class MetaSampler(Sampler[list[Any]]):
    """Batches of chips for outer steps, without end: each step's inner ones, then its outer ones.

    A step's chips follow from the seed and the number of the step alone, so that a resumed run
    goes on with the chips that were next. Processes that train together share them out.

    Args:
        training: Ground of the inner batches.
        answered: Ground of the outer batches; the same, or held out.
        take: What one step takes.
        seed: Seed of the draws.
        first_step: Number of the step to begin with, from 0.
        offset: Added to the number of a scene, or image, of ``answered``.
    """

    def __init__(
        self,
        training: Draw[Any],
        answered: Draw[Any],
        *,
        take: MetaDraw,
        seed: int,
        first_step: int = 0,
        offset: int = 0,
    ) -> None:
        self._training = training
        self._answered = answered
        self._take = take
        self._seed = seed
        self._first_step = first_step
        self._offset = offset
        self._all = training.cumulative() if take.inner else None

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield this process's chips, batch by batch, from the first step on."""
        for step in itertools.count(self._first_step):
            yield from self._step(step)

    def _step(self, step: int) -> Iterator[list[Any]]:
        rng = random_stream("meta_step", self._seed, step)
        rank, size = world()
        take, answered = self._take, self._answered
        for _ in range(take.inner):
            assert self._all is not None
            draws = rng.random((take.inner_size * size, self._training.numbers))[rank::size]
            yield [self._training.key(self._all, draw) for draw in draws]
        chosen = answered.sample(rng, take.ratio, stratified=take.stratified)
        sample = answered.cumulative(chosen)
        for _ in range(take.outer):
            draws = rng.random((take.outer_size * size, answered.numbers))[rank::size]
            yield [answered.key(sample, draw, first=self._offset) for draw in draws]
