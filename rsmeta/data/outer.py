"""What the outer loop reads: fresh draws of chips, step by step, from a stream of their own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

from rsmeta.data.sampler import ChipKey, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.data.sampler import CellDraw

#: Tells these streams from those of the split and of training, which start from the same seed.
_STREAM = 2


@dataclass(frozen=True)
class OuterDraw:
    """What one outer step takes.

    Args:
        inner: Batches of training chips, for strategies that look ahead.
        outer: Batches that the scales answer to.
        inner_size: Chips in an inner batch, per process.
        outer_size: Chips in an outer batch, per process.
        ratio: Share of the labelled cells that the outer batches may fall on, drawn anew.
        stratified: Draw that share of every class.
    """

    inner: int
    outer: int
    inner_size: int
    outer_size: int
    ratio: float
    stratified: bool


class OuterSampler(Sampler[list[ChipKey]]):
    """Batches of chips for outer steps, without end: each step's inner ones, then its outer ones.

    A step's chips follow from the seed and the number of the step alone, so that a resumed run
    goes on with the chips that were next. Processes that train together share them out.

    Args:
        training: Ground of the inner batches.
        answered: Ground of the outer batches; the same, or held out.
        take: What one step takes.
        seed: Seed of the draws.
        first_step: Number of the step to begin with, from 0.
        offset: Added to the number of a scene of ``answered``.
    """

    def __init__(
        self,
        training: CellDraw,
        answered: CellDraw,
        *,
        take: OuterDraw,
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

    def __iter__(self) -> Iterator[list[ChipKey]]:
        """Yield this process's chips, batch by batch, from the first step on."""
        for step in itertools.count(self._first_step):
            yield from self._step(step)

    def _step(self, step: int) -> Iterator[list[ChipKey]]:
        rng = np.random.default_rng([self._seed, _STREAM, step])
        rank, size = world()
        for _ in range(self._take.inner):
            assert self._all is not None
            draws = rng.random((self._take.inner_size * size, 3))[rank::size]
            yield [self._training.key(self._all, draw) for draw in draws]
        sample = self._answered.cumulative(self._sample(rng))
        for _ in range(self._take.outer):
            draws = rng.random((self._take.outer_size * size, 3))[rank::size]
            keys = [self._answered.key(sample, draw) for draw in draws]
            yield [key._replace(scene=key.scene + self._offset) for key in keys]

    def _sample(self, rng: np.random.Generator) -> np.ndarray:
        """Return the cells that this step's outer batches may fall on."""
        counts = self._answered.counts
        strata = np.zeros(len(counts), dtype=np.int64)
        if self._take.stratified:
            # A cell counts for the rarest class in it: its place in the order of frequency.
            order = np.argsort(counts.sum(axis=0), kind="stable")
            strata = np.argmax(counts[:, order] > 0, axis=1)
        chosen = []
        for stratum in np.unique(strata):
            cells = np.flatnonzero(strata == stratum)
            wanted = max(1, round(self._take.ratio * len(cells)))
            chosen.append(rng.choice(cells, wanted, replace=False))
        return np.concatenate(chosen)
