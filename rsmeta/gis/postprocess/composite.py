"""Several class maps as one, on any grid: read window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import shapely
from rasterio.enums import Resampling
from rasterio.windows import Window, intersect

from rsmeta.geo.footprint import outline
from rsmeta.geo.grid import Grid, whole_pixels
from rsmeta.geo.handles import open_raster, reading
from rsmeta.geo.reprojection import onto_grid
from rsmeta.geo.warp import ALIGNED_PX, warped
from rsmeta.gis.class_map import NO_CLASS, open_class_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rsmeta.gis.class_map import ClassMap

#: Map that a pixel is taken from where maps overlap: the first, the most confident, or all.
Rule = Literal["first", "confidence", "mean"]


#: How far a place may be off where GDAL takes a short cut in projecting, in pixels: hardly at all,
#: so that pixels do not depend on the window that they are read in. It does not take 0.
_TOLERANCE_PX = 1e-4

#: Pixels that many times as long as a map's own get something of all that they cover; shorter ones
#: miss hardly any when they are taken from between the nearest.
COARSER = 2.0


@dataclass(frozen=True)
class Part:
    """One map, as it came from the model.

    Attributes:
        map: Its classes.
        probabilities: One band per class, NaN where nothing is known; where they are needed.
        confidence: The largest probability likewise.
    """

    map: Path
    probabilities: Path | None = None
    confidence: Path | None = None


@dataclass(frozen=True)
class Merged:
    """A window of the composite.

    Attributes:
        indices: Class indices, (h, w) int16, -1 where no map has a class; none for maps of
            numbers.
        scores: Probabilities, (K, h, w) float32, 0 where unknown; none where no map has them. Of
            maps of numbers the numbers, (1, h, w), NaN where unknown.
        used: Places in the list of maps of those that gave a pixel.
    """

    indices: np.ndarray | None
    scores: np.ndarray | None
    used: frozenset[int]

    @property
    def valid(self) -> np.ndarray:
        """Where something is known, (h, w) bool."""
        if self.indices is not None:
            return self.indices >= 0
        assert self.scores is not None  # one of them is there
        known: np.ndarray = np.isfinite(self.scores[0])
        return known


class Composite:
    """Maps on one grid: classes from the nearest pixel, probabilities between pixels.

    Args:
        parts: The maps, in the order in which they count.
        grid: The grid to see them on.
        rule: Which map a pixel is taken from.
    """

    def __init__(self, parts: Sequence[Part], grid: Grid, rule: Rule = "first") -> None:
        self.grid = grid
        self._rule = rule
        self._parts = [(part, open_class_map(part.map)) for part in parts]

    def read(self, window: Window) -> Merged:
        """Return a window of the grid.

        Raises:
            SceneUnreadableError: A map cannot be read.
        """
        grid = self.grid.crop(window)
        met = {
            number: (part, own)
            for number, (part, own) in enumerate(self._parts)
            if meet(own.grid, grid)
        }
        if self._rule == "mean":
            return self._mean(met, grid)
        indices = np.full(grid.shape, NO_CLASS, dtype=np.int16)
        source = np.full(grid.shape, -1, dtype=np.int32)  # the map of each pixel
        scores: np.ndarray | None = None
        surest = np.zeros(grid.shape, dtype=np.float32)
        for number, (part, own) in met.items():
            found = _classes(part, own, grid)
            shares = self._shares(part.probabilities, own, grid)
            taken = (found >= 0) & (indices < 0)
            if self._rule == "confidence":
                sure = self._sureness(part, own, grid, shares)
                taken = (found >= 0) & (sure > surest)
                surest[taken] = sure[taken]
            indices[taken], source[taken] = found[taken], number
            if shares is not None:
                scores = np.zeros_like(shares) if scores is None else scores
                scores[:, taken] = shares[:, taken]
        used = frozenset(number for number in met if (source == number).any())
        return Merged(indices, scores, used)

    def classes(self, window: Window) -> np.ndarray:
        """Return the class indices of a window alone, (h, w) int16, -1 where none is known.

        Raises:
            SceneUnreadableError: A map cannot be read.
        """
        indices = self.read(window).indices
        assert indices is not None  # maps of classes have them
        return indices

    def _mean(self, met: Mapping[int, tuple[Part, ClassMap]], grid: Grid) -> Merged:
        classes = len(self._parts[0][1].classes)
        total = np.zeros((classes, *grid.shape), dtype=np.float32)
        count = np.zeros(grid.shape, dtype=np.float32)
        used = set()
        for number, (part, own) in met.items():
            shares = self._shares(part.probabilities, own, grid)
            known = _classes(part, own, grid) >= 0
            if shares is None:
                raise ValueError(f"{part.map} comes without probabilities")
            total[:, known] += shares[:, known]
            count += known
            if known.any():
                used.add(number)
        scores = total / np.maximum(count, 1)
        indices = np.where(count > 0, scores.argmax(axis=0), NO_CLASS).astype(np.int16)
        return Merged(indices, scores, frozenset(used))

    def _sureness(
        self, part: Part, own: ClassMap, grid: Grid, shares: np.ndarray | None
    ) -> np.ndarray:
        if shares is None:
            shares = self._shares(part.confidence, own, grid)
        if shares is None:
            raise ValueError(f"{part.map} comes without confidence")
        sure: np.ndarray = shares.max(axis=0)
        return sure

    def _shares(self, path: Path | None, own: ClassMap, grid: Grid) -> np.ndarray | None:
        """Return shares on a grid, (K, h, w) float32, 0 where unknown; none without a file."""
        if path is None:
            return None
        ratio = ratio_of(own.grid, self.grid)
        shares = read_on(path, own.grid, grid, Resampling.bilinear, ratio=ratio)
        shares[np.isnan(shares)] = 0
        return shares


def _classes(part: Part, own: ClassMap, grid: Grid) -> np.ndarray:
    values = read_on(part.map, own.grid, grid, Resampling.nearest)
    indices = own.to_indices(np.where(np.isfinite(values[0]), values[0], 0).astype(np.int64))
    indices[~np.isfinite(values[0])] = NO_CLASS
    return indices


def read_on(
    path: Path, own: Grid, grid: Grid, resampling: Resampling, *, ratio: float = 1.0
) -> np.ndarray:
    """Read a raster on another grid, (bands, h, w) float32, NaN where it has no data.

    Args:
        path: The raster.
        own: Its grid.
        grid: The grid to read it on.
        resampling: How a number comes from its neighbours.
        ratio: As of ``ratio_of`` for the whole target: left alone, GDAL judges it anew for each
            window, and pixels would depend on the window that they are read in.
    """
    scale = 1 / ratio if ratio >= COARSER else 1.0
    dataset = open_raster(str(path))
    offset = grid.shift_px(own, tolerance_px=ALIGNED_PX)
    with reading(str(path)):
        if offset is not None:
            col, row = offset
            return _padded(dataset, Window(col, row, grid.width_px, grid.height_px))
        with warped(
            dataset, grid, resampling=resampling, dtype="float32", src_nodata=dataset.nodata,
            nodata=np.nan, tolerance=_TOLERANCE_PX, XSCALE=scale, YSCALE=scale,
        ) as raster:  # fmt: skip
            values: np.ndarray = raster.read()
    return values


def ratio_of(own: Grid, grid: Grid) -> float:
    """Return how many times as long as a map's own pixels those of a grid are."""
    if own.gsd_m is not None and grid.gsd_m is not None:
        return grid.gsd_m / own.gsd_m
    return math.sqrt(abs(grid.transform.determinant / own.transform.determinant))


def _padded(dataset: object, window: Window) -> np.ndarray:
    """Read a window that may reach over the edges of a raster."""
    row, col, height, width = whole_pixels(window)
    values = np.full((dataset.count, height, width), np.nan, np.float32)  # type: ignore[attr-defined]
    full = Window(0, 0, dataset.width, dataset.height)  # type: ignore[attr-defined]
    if not intersect(window, full):
        return values
    inside = window.intersection(full)
    there = np.s_[
        :,
        int(inside.row_off) - row : int(inside.row_off + inside.height) - row,
        int(inside.col_off) - col : int(inside.col_off + inside.width) - col,
    ]
    found = dataset.read(window=inside).astype(np.float32)  # type: ignore[attr-defined]
    nodata = dataset.nodata  # type: ignore[attr-defined]
    if nodata is not None and not math.isnan(nodata):
        found[found == nodata] = np.nan
    values[there] = found
    return values


def meet(own: Grid, grid: Grid) -> bool:
    """Return false only where a grid certainly holds nothing of another."""
    there = onto_grid(np.array([outline(own)]), own.crs, grid)[0]
    return bool(shapely.intersects(there, outline(grid)))
