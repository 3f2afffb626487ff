"""Which chips are read: random ones where labels are, or every one on a grid.

A chip is named by its scene and its upper left pixel. Random draws come from a generator of
their own, seeded by (seed, epoch): the same seed gives the same chips, whatever else draws
random numbers, and an interrupted run goes on with the chips that were next. (TorchGeo's random
samplers choose the file with the global generator, whatever ``generator=`` says.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch.distributed
from torch.utils.data import Sampler

from rsmeta.data.survey import CELL_PX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rsmeta.config.data import SamplingName
    from rsmeta.data.survey import LabelIndex


#: A class is drawn by its frequency to this power, where one power holds for all epochs. Steps
#: that belong to no epoch take ``progressive`` as it begins, and ``down`` without its choice.
POWERS: dict[SamplingName, float] = {
    "instance": 1.0, "progressive": 1.0, "sqrt": 0.5, "class": 0.0, "down": 0.0,
}  # fmt: skip


class ChipKey(NamedTuple):
    """One chip: number of the scene, row and column of its upper left pixel."""

    scene: int
    row: int
    col: int


class CellDraw:
    """Draws chips around labelled pixels.

    First a class is drawn (for ``sqrt`` and ``balanced``), then a cell with that class, then a
    place for the chip such that it holds the cell and, where it can, lies inside the scene.

    Args:
        indexes: Label index of each scene.
        shapes: (height, width) of each scene in pixels.
        chip_px: Side of a chip.
        sampling: ``instance`` by labelled area; ``class`` classes equally often; ``sqrt`` in
            between, by the square root of a class's area; ``progressive`` from ``instance`` in
            the first epoch to ``class`` in the last; ``down`` classes equally often, each from
            as many cells as the rarest has, drawn anew each epoch.
    """

    #: Random numbers that one draw takes: cell, row, column.
    numbers = 3

    def __init__(
        self,
        indexes: Sequence[LabelIndex],
        shapes: Sequence[tuple[int, int]],
        *,
        chip_px: int,
        sampling: SamplingName = "instance",
    ) -> None:
        self._shapes = shapes
        self._chip_px = chip_px
        self.sampling = sampling
        self._scene = np.concatenate([np.full(len(x.cells), i) for i, x in enumerate(indexes)])
        self._cells = np.concatenate([index.cells for index in indexes])
        #: Labelled pixels per cell and class, (N, K).
        self.counts = np.concatenate([index.counts for index in indexes]).astype(np.float64)

    def cumulative(self, chosen: np.ndarray | None = None) -> np.ndarray:
        """Return the cumulative probability of the cells, (N,), whatever the epoch.

        Args:
            chosen: Indices of the cells that may be drawn; none: all.
        """
        return self._cumulative(POWERS[self.sampling], chosen)

    def of_epoch(self, rng: np.random.Generator, progress: float) -> np.ndarray:
        """Return the cumulative probability of the cells in one epoch, (N,).

        Args:
            rng: Chooses the cells of ``down``.
            progress: Share of the training that lies behind, from 0 to 1 in the last epoch.
        """
        if self.sampling == "down":
            return self._cumulative(0.0, self._as_many_as_the_rarest(rng))
        if self.sampling == "progressive":
            first, last = self._cumulative(1.0), self._cumulative(0.0)
            return (1 - progress) * first + progress * last
        return self.cumulative()

    def _cumulative(self, power: float, chosen: np.ndarray | None = None) -> np.ndarray:
        counts = self.counts
        if chosen is not None:
            counts = np.zeros_like(counts)
            counts[chosen] = self.counts[chosen]
        totals = counts.sum(axis=0)
        share = np.where(totals > 0, totals, np.nan) ** power
        share = np.nan_to_num(share / np.nansum(share))
        # Probability of a cell: over classes, share of the class x the cell's part of the class.
        weight = counts @ (share / np.maximum(totals, 1.0))
        return np.cumsum(weight / weight.sum())

    def _as_many_as_the_rarest(self, rng: np.random.Generator) -> np.ndarray:
        cells = [np.flatnonzero(column) for column in self.counts.T if column.any()]
        fewest = min(map(len, cells))
        return np.unique(np.concatenate([rng.choice(one, fewest, replace=False) for one in cells]))

    def sample(self, rng: np.random.Generator, ratio: float, *, stratified: bool) -> np.ndarray:
        """Return the indices of a share of the cells.

        Args:
            rng: Draws them.
            ratio: The share.
            stratified: Draw that share of every class.
        """
        strata = np.zeros(len(self.counts), dtype=np.int64)
        if stratified:
            # A cell counts for the rarest class in it: its place in the order of frequency.
            order = np.argsort(self.counts.sum(axis=0), kind="stable")
            strata = np.argmax(self.counts[:, order] > 0, axis=1)
        return share_of_each(strata, ratio, rng)

    def key(self, cumulative: np.ndarray, draw: np.ndarray, *, first: int = 0) -> ChipKey:
        """Return the chip that three random numbers in [0, 1) stand for: cell, row, column."""
        place, down, right = draw
        hit = min(np.searchsorted(cumulative, place, side="right"), len(self._cells) - 1)
        scene = int(self._scene[hit])
        row, col = (int(i) * CELL_PX for i in self._cells[hit])
        height, width = self._shapes[scene]
        return ChipKey(
            scene + first,
            _place(row, down, self._chip_px, height),
            _place(col, right, self._chip_px, width),
        )


class RandomChipSampler(Sampler[ChipKey]):
    """Chips around labelled pixels, drawn anew each epoch.

    Args:
        draw: Says which chips may be drawn, and how often.
        length: Chips in an epoch, over all processes.
        seed: Seed of the draws.
        epochs: Epochs of the whole training, for ``progressive``.
    """

    def __init__(self, draw: CellDraw, *, length: int, seed: int = 0, epochs: int = 1) -> None:
        self._draw = draw
        self._length = length
        self._seed = seed
        self._epochs = epochs
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the chips of this epoch next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return how many chips this process reads in an epoch."""
        return self._length // world()[1]

    def __iter__(self) -> Iterator[ChipKey]:
        """Yield the chips of the epoch that this process reads."""
        rng = np.random.default_rng([self._seed, self._epoch])
        draws = rng.random((self._length, 3))
        cumulative = self._draw.of_epoch(rng, progress(self._epoch, self._epochs))
        rank, size = world()
        for draw in draws[rank : len(self) * size : size]:
            yield self._draw.key(cumulative, draw)


class GridChipSampler(Sampler[ChipKey]):
    """Every chip of a regular grid that holds a label, in order.

    Args:
        indexes: Label index of each scene.
        chip_px: Side of a chip, and the step from one to the next.
    """

    def __init__(self, indexes: Sequence[LabelIndex], *, chip_px: int) -> None:
        self._keys = [
            ChipKey(scene, row * chip_px, col * chip_px)
            for scene, index in enumerate(indexes)
            for row, col in _chips_with_labels(index, chip_px)
        ]

    def __len__(self) -> int:
        """Return how many chips this process reads."""
        return len(range(world()[0], len(self._keys), world()[1]))

    def __iter__(self) -> Iterator[ChipKey]:
        """Yield the chips that this process reads."""
        rank, size = world()
        return iter(self._keys[rank::size])


def _place(start: int, draw: float, chip_px: int, size_px: int) -> int:
    """Place a chip so that it holds the cell at ``start``, inside the scene if it fits."""
    low = start + min(CELL_PX, chip_px) - chip_px
    place = low + int(draw * (start - low + 1))
    return int(np.clip(place, 0, max(size_px - chip_px, 0)))


def _chips_with_labels(index: LabelIndex, chip_px: int) -> list[tuple[int, int]]:
    """Return (row, column), in chips, of every grid chip that a labelled cell touches."""
    first = index.cells * CELL_PX // chip_px
    last = (index.cells * CELL_PX + CELL_PX - 1) // chip_px
    corners = [
        np.stack([rows[:, 0], cols[:, 1]], axis=1)
        for rows in (first, last)
        for cols in (first, last)
    ]
    return [(int(r), int(c)) for r, c in np.unique(np.concatenate(corners), axis=0)]


def share_of_each(strata: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of a share of each stratum, one at least.

    Args:
        strata: Number of the stratum of each thing, (N,).
        ratio: The share.
        rng: Draws them.
    """
    chosen = []
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        wanted = max(1, round(ratio * len(members)))
        chosen.append(rng.choice(members, wanted, replace=False))
    return np.concatenate(chosen)


def progress(epoch: int, epochs: int) -> float:
    """Return how far training is, from 0 in the first epoch to 1 in the last."""
    return min(1.0, epoch / (epochs - 1)) if epochs > 1 else 0.0


def world() -> tuple[int, int]:
    """Return rank and number of the processes that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
