"""What the labels hold and where: counted once, before anything is split or drawn.

Memory grows with the labelled area, never with the scene: only cells with labels are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rasterio.warp import transform
from rasterio.windows import Window

from rsmeta.errors import SplitError, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rsmeta.data.chips import LabelledScene
    from rsmeta.data.splits import BlockLattice

#: Side of a cell of the label index, in pixels.
CELL_PX = 16

#: Side of the windows that labels are counted in, in pixels; a multiple of ``CELL_PX``.
_STEP_PX = 1024


class NoLabelsError(SplitError):
    """No label is left to train on.

    Args:
        scenes: The training scenes.
    """

    def __init__(self, scenes: Sequence[LabelledScene]) -> None:
        for one in scenes:
            empty = _bands_without_data(one)
            if 0 < len(empty) < len(one.scene.bands):
                super().__init__(
                    f"{one.scene.name}: no labelled pixel has data in {enumerate_names(empty)}, so "
                    f"none can be used; leave such bands out with data.use_bands"
                )
                return
        super().__init__(
            "no labelled pixel is left for training: all labels are nodata, in data.ignore, on "
            "pixels without data, or held out; check data.labels, data.nodata and data.split"
        )


@dataclass(frozen=True)
class LabelIndex:
    """Cells of one scene that hold labels.

    Attributes:
        cells: (row, column) of each cell in units of ``CELL_PX``, (N, 2) int64.
        counts: Labelled, valid pixels per cell and class, (N, K) int64.
    """

    cells: np.ndarray
    counts: np.ndarray

    @property
    def class_counts(self) -> np.ndarray:
        """Labelled pixels per class, (K,) int64."""
        totals: np.ndarray = self.counts.sum(axis=0)
        return totals


def index_labels(labelled: LabelledScene, classes: int) -> LabelIndex:
    """Count the labelled, valid pixels of a scene's region in cells.

    Args:
        labelled: The scene; a label on a pixel without data does not count.
        classes: Number of classes, K.
    """
    cells: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    for rows, cols, found in _labelled_pixels(labelled):
        places, per_class = _counted(rows // CELL_PX, cols // CELL_PX, found, classes)
        cells.append(places)
        counts.append(per_class)
    if not cells:
        return LabelIndex(np.empty((0, 2), np.int64), np.empty((0, classes), np.int64))
    return LabelIndex(np.concatenate(cells), np.concatenate(counts))


def count_by_block(
    labelled: LabelledScene, classes: int, lattice: BlockLattice
) -> Mapping[tuple[int, int], np.ndarray]:
    """Count the labelled, valid pixels per class, (K,), in each block of a lattice."""
    grid = labelled.scene.grid
    totals: dict[tuple[int, int], np.ndarray] = {}
    for rows, cols, found in _labelled_pixels(labelled):
        x, y = grid.xy(cols + 0.5, rows + 0.5)
        if lattice.crs is not None and grid.crs not in (None, lattice.crs):
            x, y = map(np.asarray, transform(grid.crs, lattice.crs, x, y))
        block_rows, block_cols = lattice.locate(x, y).T
        places, counts = _counted(block_rows, block_cols, found, classes)
        for (row, col), count in zip(places.tolist(), counts, strict=True):
            totals[row, col] = totals.get((row, col), 0) + count
    return totals


def _counted(
    rows: np.ndarray, cols: np.ndarray, found: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count pixels (N,) by place and class; return places (M, 2), in order, and counts (M, K).

    Each pixel becomes one number, whose values are counted: to sort pairs takes ten times as long.
    """
    top, left = rows.min(), cols.min()
    width = cols.max() - left + 1
    numbers = ((rows - top) * width + (cols - left)) * classes + found
    there, pixels = np.unique(numbers, return_counts=True)
    places, place = np.unique(there // classes, return_inverse=True)
    counts = np.zeros((len(places), classes), np.int64)
    counts[place, there % classes] = pixels
    return np.stack([places // width + top, places % width + left], axis=1), counts


def labelled_values(labelled: LabelledScene) -> Iterator[np.ndarray]:
    """Yield the labels (N,) themselves of the labelled, valid pixels, window by window."""
    for _, found, values in labelled_windows(labelled):
        yield values[found >= 0]


def _bands_without_data(labelled: LabelledScene) -> list[str]:
    """Return the bands of a scene that hold no data on any labelled pixel."""
    scene = labelled.scene
    empty = list(scene.bands)
    for window in scene.grid.windows(_STEP_PX):
        found = labelled.labels.strata(labelled.read_labels(window)) >= 0
        if not found.any():
            continue
        empty = [b for b in empty if not (scene.select([b]).read(window).valid & found).any()]
    return [str(band) for band in empty]


def _labelled_pixels(
    labelled: LabelledScene,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield row, column and stratum of the labelled, valid pixels, window by window."""
    for window, found, _ in labelled_windows(labelled):
        rows, cols = np.nonzero(found >= 0)
        yield rows + int(window.row_off), cols + int(window.col_off), found[rows, cols]


def labelled_windows(labelled: LabelledScene) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Yield windows with a labelled, valid pixel, their strata, -1 elsewhere, and labels.

    Windows end where their labels do: pixels of a scene are read for few polygons' sake.
    """
    for step in labelled.scene.grid.windows(_STEP_PX):
        values = labelled.read_labels(step)
        found = labelled.labels.strata(values)
        rows, cols = (np.flatnonzero((found >= 0).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            continue
        top, left, height, width = rows[0], cols[0], np.ptp(rows) + 1, np.ptp(cols) + 1
        window = Window(int(step.col_off + left), int(step.row_off + top), int(width), int(height))
        inside = np.s_[top : top + height, left : left + width]
        found = np.where(labelled.scene.read(window).valid, found[inside], -1)
        if (found >= 0).any():
            yield window, found, values[inside]
