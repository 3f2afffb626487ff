"""Which chips are read: random ones where labels are, or every one on a grid.

A chip is named by its scene and its upper left pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rsmeta.data.class_sampling import ClassSampling, EpochSampler, InOrderSampler, strata_of
from rsmeta.data.label_index import CELL_PX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rsmeta.config.data import SamplingName
    from rsmeta.data.label_index import LabelIndex


class ChipKey(NamedTuple):
    """One chip: number of the scene, row and column of its upper left pixel."""

    scene: int
    row: int
    col: int


class CellSampling(ClassSampling[ChipKey]):
    """Draws chips around labelled pixels.

    First a class is drawn (except for ``instance``), then a cell with that class, then a
    place for the chip such that it holds the cell and, where it can, lies inside the scene.

    Args:
        indexes: Label index of each scene.
        shapes: (height, width) of each scene in pixels.
        chip_px: Side of a chip.
        sampling: As in ``ClassSampling``, where the size of a class is its labelled area.
    """

    #: Random numbers for one key: cell, row, column.
    key_numbers = 3

    def __init__(
        self,
        indexes: Sequence[LabelIndex],
        shapes: Sequence[tuple[int, int]],
        *,
        chip_px: int,
        sampling: SamplingName = "instance",
    ) -> None:
        super().__init__(sampling)
        self._shapes = shapes
        self._chip_px = chip_px
        self._scene = np.concatenate([np.full(len(x.cells), i) for i, x in enumerate(indexes)])
        self._cells = np.concatenate([index.cells for index in indexes])
        #: Labelled pixels per cell and class, (N, K).
        self.counts = np.concatenate([index.counts for index in indexes]).astype(np.float64)

    def __len__(self) -> int:
        """Return the number of labelled cells."""
        return len(self._cells)

    def of_epoch(self, rng: np.random.Generator, progress: float) -> np.ndarray:
        """Return the cumulative probability of the cells in one epoch, (N,).

        Args:
            rng: Chooses the cells of ``down``.
            progress: Share of the training that lies behind, from 0 to 1 in the last epoch.
        """
        if self.sampling == "down":
            return self._cumulative(0.0, self._as_many_as_the_rarest(rng))
        return self._by_progress(progress)

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

    def _strata(self) -> np.ndarray:
        # A cell counts for the rarest class in it.
        return strata_of(self.counts, self.counts.sum(axis=0))

    def key(self, cumulative: np.ndarray, numbers: np.ndarray, *, first: int = 0) -> ChipKey:
        """Return the chip that three random numbers in [0, 1) stand for: cell, row, column."""
        place, down, right = numbers
        hit = self.hit(cumulative, place)
        scene = int(self._scene[hit])
        row, col = (int(i) * CELL_PX for i in self._cells[hit])
        height, width = self._shapes[scene]
        return ChipKey(
            scene + first,
            _place(row, down, self._chip_px, height),
            _place(col, right, self._chip_px, width),
        )


class RandomChipSampler(EpochSampler[ChipKey]):
    """Chips around labelled pixels, drawn anew each epoch.

    Args:
        sampling: Says which chips may be drawn, and how often.
        length: Chips in an epoch, over all processes.
        seed: Seed of the random numbers.
        epochs: Epochs of the whole training, for ``progressive``.
    """

    def __init__(
        self, sampling: CellSampling, *, length: int, seed: int = 0, epochs: int = 1
    ) -> None:
        super().__init__(length=length, seed=seed, epochs=epochs)
        self._sampling = sampling

    def _keys(self, rng: np.random.Generator, mine: slice) -> Iterator[ChipKey]:
        numbers = rng.random((self._length, self._sampling.key_numbers))
        cumulative = self._sampling.of_epoch(rng, self._progress)
        for one in numbers[mine]:
            yield self._sampling.key(cumulative, one)


class GridChipSampler(InOrderSampler[ChipKey]):
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
        super().__init__(len(self._keys))

    def _key(self, index: int) -> ChipKey:
        return self._keys[index]


def _place(start: int, number: float, chip_px: int, size_px: int) -> int:
    """Place a chip so that it holds the cell at ``start``, inside the scene if it fits."""
    low = start + min(CELL_PX, chip_px) - chip_px
    place = low + int(number * (start - low + 1))
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
