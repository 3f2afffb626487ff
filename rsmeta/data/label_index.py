"""What the labels hold and where: counted once, before anything is split or drawn.

Memory grows with the labelled ground, never with the scene: only cells with labels are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rasterio.warp import transform
from rasterio.windows import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rsmeta.data.labels import LabelReader
    from rsmeta.data.splits import BlockLattice, Region
    from rsmeta.geo.scene import Scene

#: Side of a cell of the label index, in pixels.
CELL_PX = 16

#: Side of the windows that labels are counted in, in pixels; a multiple of ``CELL_PX``.
_STEP_PX = 1024


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


def index_labels(
    scene: Scene, labels: LabelReader, classes: int, region: Region | None = None
) -> LabelIndex:
    """Count the labelled, valid pixels of a scene in cells.

    Args:
        scene: The scene; a label on a pixel without data does not count.
        labels: Labels on the scene's grid.
        classes: Number of classes, K.
        region: Ground to count; none: all of it.
    """
    cells: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    for rows, cols, found in _labelled_pixels(scene, labels, region):
        keys, inverse = np.unique(
            np.stack([rows, cols], axis=1) // CELL_PX, axis=0, return_inverse=True
        )
        flat = np.bincount(inverse.ravel() * classes + found, minlength=len(keys) * classes)
        cells.append(keys)
        counts.append(flat.reshape(len(keys), classes))
    if not cells:
        return LabelIndex(np.empty((0, 2), np.int64), np.empty((0, classes), np.int64))
    return LabelIndex(np.concatenate(cells), np.concatenate(counts))


def count_by_block(
    scene: Scene, labels: LabelReader, classes: int, lattice: BlockLattice
) -> Mapping[tuple[int, int], np.ndarray]:
    """Count the labelled, valid pixels per class, (K,), in each block of a lattice."""
    totals: dict[tuple[int, int], np.ndarray] = {}
    for rows, cols, found in _labelled_pixels(scene, labels, None):
        x, y = scene.grid.xy(cols + 0.5, rows + 0.5)
        if lattice.crs is not None and scene.grid.crs not in (None, lattice.crs):
            x, y = map(np.asarray, transform(scene.grid.crs, lattice.crs, x, y))
        keys, inverse = np.unique(lattice.locate(x, y), axis=0, return_inverse=True)
        flat = np.bincount(inverse.ravel() * classes + found, minlength=len(keys) * classes)
        for (row, col), count in zip(keys.tolist(), flat.reshape(-1, classes), strict=True):
            totals[row, col] = totals.get((row, col), 0) + count
    return totals


def windows(height_px: int, width_px: int, step_px: int) -> Iterator[Window]:
    """Yield windows of ``step_px`` that cover a raster exactly, smaller at its far edges."""
    for row in range(0, height_px, step_px):
        for col in range(0, width_px, step_px):
            yield Window(col, row, min(step_px, width_px - col), min(step_px, height_px - row))


def labelled_values(
    scene: Scene, labels: LabelReader, region: Region | None
) -> Iterator[np.ndarray]:
    """Yield the labels (N,) themselves of the labelled, valid pixels, window by window."""
    for _, found, values in _labelled(scene, labels, region):
        yield values[found >= 0]


def _labelled_pixels(
    scene: Scene, labels: LabelReader, region: Region | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield row, column and stratum of the labelled, valid pixels, window by window."""
    for window, found, _ in _labelled(scene, labels, region):
        rows, cols = np.nonzero(found >= 0)
        yield rows + int(window.row_off), cols + int(window.col_off), found[rows, cols]


def _labelled(
    scene: Scene, labels: LabelReader, region: Region | None
) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Yield windows with a labelled, valid pixel, their strata, -1 elsewhere, and labels."""
    for window in windows(scene.grid.height_px, scene.grid.width_px, _STEP_PX):
        grid = scene.grid.crop(window)
        values = labels.read(grid)
        found = labels.strata(values)
        if region is not None and (found >= 0).any():
            found = np.where(region.contains(grid), found, -1)
        if (found >= 0).any():
            found = np.where(scene.read(window).valid, found, -1)
        if (found >= 0).any():
            yield window, found, values
