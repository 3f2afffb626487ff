"""Several maps of numbers as one, on any grid: read window by window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from rasterio.enums import Resampling

from rsmeta.gis.postprocess.composite import COARSER, Merged, meet, ratio_of, read_on
from rsmeta.gis.quantity_map import QuantityMap, open_quantity_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rasterio.windows import Window

    from rsmeta.geo.grid import Grid


class QuantityComposite:
    """Maps of numbers on one grid: from between pixels, or, on a coarser grid, their mean.

    Between pixels a place is known where its nearest pixel is; a mean is that of the pixels that
    are known. On a grid of the same pixels nothing is changed.

    Args:
        paths: The maps, in the order in which they count.
        grid: The grid to see them on.
        rule: Where they overlap: the first that has a number, or the mean of all.
    """

    def __init__(
        self, paths: Sequence[Path], grid: Grid, rule: Literal["first", "mean"] = "first"
    ) -> None:
        self.grid = grid
        self._rule = rule
        self._parts = [(path, open_quantity_map(path)) for path in paths]

    def read(self, window: Window) -> Merged:
        """Return a window of the grid.

        Raises:
            SceneUnreadableError: A map cannot be read.
        """
        grid = self.grid.crop(window)
        total = np.zeros((1, *grid.shape), dtype=np.float64)
        count = np.zeros((1, *grid.shape), dtype=np.int64)
        used = set()
        for number, (path, own) in enumerate(self._parts):
            if not meet(own.grid, grid):
                continue
            found = self._numbers(path, own, grid)
            taken = np.isfinite(found)
            if self._rule == "first":
                taken &= count == 0
            total[taken] += found[taken]
            count += taken
            if taken.any():
                used.add(number)
        numbers = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return Merged(None, numbers.astype(np.float32), frozenset(used))

    def _numbers(self, path: Path, own: QuantityMap, grid: Grid) -> np.ndarray:
        if ratio_of(own.grid, self.grid) >= COARSER:
            return read_on(path, own.grid, grid, Resampling.average)
        numbers = read_on(path, own.grid, grid, Resampling.bilinear)
        nearest = read_on(path, own.grid, grid, Resampling.nearest)
        return np.where(np.isfinite(nearest), numbers, np.float32(np.nan))
