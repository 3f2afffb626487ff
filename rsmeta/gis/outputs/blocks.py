"""Blocks of every raster of a map, made from the scores of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.geo.pixel_area import cover_of
from rsmeta.gis.outputs.map_statistics import MapStatistics, Statistics
from rsmeta.gis.outputs.nodata import map_values, share_values, without_nan
from rsmeta.gis.outputs.shares import SHARES_OF, largest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rasterio.windows import Window

    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.raster_spec import MapSpec


@dataclass(frozen=True)
class MadeBlock:
    """One block of every raster, ready to be written.

    Attributes:
        window: Its place in the rasters.
        arrays: (bands, h, w) in the raster's type, by the name of the raster; none: nothing is
            valid.
        statistics: Its pixels and areas per class, or statistics of numbers.
    """

    window: Window
    arrays: Mapping[str, np.ndarray] | None
    statistics: MapStatistics


@dataclass(frozen=True)
class BlockMaker:
    """Turns the scores of a block into what each raster holds; can be pickled.

    Attributes:
        spec: What the rasters of the map have in common.
        grid: Their grid.
        names: The rasters to write.
    """

    spec: MapSpec
    grid: Grid
    names: tuple[str, ...]

    def made(
        self,
        scores: np.ndarray | None,
        valid: np.ndarray | None,
        window: Window,
        *,
        tiles: int = 0,
        skipped: int = 0,
        classes: np.ndarray | None = None,
    ) -> MadeBlock:
        """Return a block of every raster.

        Args:
            scores: Probabilities, (K, h, w), or numbers, (1, h, w), float32; none where nothing
                is valid.
            valid: (h, w) bool, elsewhere is nodata; none likewise. So are pixels whose scores are
                not finite.
            window: Place of the block in the rasters.
            tiles: How many went through the network for it.
            skipped: How many had no valid pixel.
            classes: Class indices, (h, w), that were chosen otherwise than by the largest score;
                scores may then be none, if no raster of shares is made.
        """
        computed, arrays, not_finite = None, None, 0
        known = valid
        if valid is not None and scores is not None:
            known = without_nan(scores, valid)
            not_finite = int(np.count_nonzero(valid) - np.count_nonzero(known))
        if known is not None and known.any() and (scores is not None or classes is not None):
            best = classes
            if best is None and scores is not None and not self.spec.output.continuous:
                best = largest(scores)
            computed = scores, best, known
            arrays = {name: self._array(name, *computed) for name in self.names}
        statistics = replace(
            self._statistics_of(computed, window),
            tiles=tiles,
            skipped=skipped,
            not_finite=not_finite,
        )
        return MadeBlock(window, arrays, statistics)

    def _array(
        self, name: str, scores: np.ndarray | None, best: np.ndarray | None, valid: np.ndarray
    ) -> np.ndarray:
        """Return a block of one raster, (bands, h, w) in its type."""
        if name == "map":
            return map_values(self.spec.output, scores, valid, best)
        if scores is None:
            raise ValueError(f"{name} needs scores")
        return share_values(SHARES_OF[name](scores), valid, self.spec.shares)

    def _statistics_of(
        self,
        computed: tuple[np.ndarray | None, np.ndarray | None, np.ndarray] | None,
        window: Window,
    ) -> MapStatistics:
        """Sum up a block from its scores, indices of the largest, and validity."""
        classes, grid = len(self.spec.output.values), self.grid.crop(window)
        none = None if grid.crs is None else (0.0,) * classes
        if computed is None:
            return MapStatistics((0,) * classes, none)
        scores, best, valid = computed
        if best is None:
            assert scores is not None  # one of them is there
            return MapStatistics((), none, numbers=Statistics.of(scores[0][valid]))
        pixels, areas = cover_of(best, valid, grid, classes)
        return MapStatistics(
            tuple(pixels.tolist()), None if areas is None else tuple(areas.tolist())
        )
