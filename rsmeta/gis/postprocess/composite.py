"""Several class maps as one, on any grid: read window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform, transform_bounds
from rasterio.windows import Window, intersect

from rsmeta.errors import GridMismatchError
from rsmeta.geo.grid import Grid, apply, whole_pixels
from rsmeta.geo.handles import open_raster, reading
from rsmeta.gis.class_map import NO_CLASS, open_class_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rasterio.crs import CRS

    from rsmeta.gis.class_map import ClassMap

#: Map that a pixel is taken from where maps overlap: the first, the most confident, or all.
Rule = Literal["first", "confidence", "mean"]

#: Lattices whose pixels lie this close to each other, in pixels, are one.
_ALIGNED_PX = 1e-4


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
    offset = _offset(own, grid)
    with reading(str(path)):
        if offset is not None:
            col, row = offset
            return _padded(dataset, Window(col, row, grid.width_px, grid.height_px))
        with WarpedVRT(
            dataset, crs=grid.crs, transform=grid.transform, width=grid.width_px,
            height=grid.height_px, resampling=resampling, dtype="float32",
            src_nodata=dataset.nodata, nodata=np.nan,
            tolerance=_TOLERANCE_PX, XSCALE=scale, YSCALE=scale,
        ) as warped:  # fmt: skip
            values: np.ndarray = warped.read()
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


def _offset(own: Grid, grid: Grid) -> tuple[int, int] | None:
    """Return where a grid begins in another of the same lattice, in its pixels; none elsewhere."""
    a, b = own.transform, grid.transform
    same = all(
        math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-15)
        for x, y in ((a.a, b.a), (a.b, b.b), (a.d, b.d), (a.e, b.e))
    )
    if own.crs != grid.crs or not same:
        return None
    col, row = apply(~a, b.c, b.f)
    aligned = abs(col - round(col)) < _ALIGNED_PX and abs(row - round(row)) < _ALIGNED_PX
    return (round(col), round(row)) if aligned else None


def meet(own: Grid, grid: Grid) -> bool:
    """Return false only where a grid certainly holds nothing of another."""
    if own.crs is None or own.crs == grid.crs:
        bounds = own.bounds
    else:
        try:
            bounds = transform_bounds(own.crs, grid.crs, *own.bounds)
        except RasterioError:  # reaches beyond what the projection can show
            return True
    left, bottom, right, top = grid.bounds
    return bounds[0] < right and left < bounds[2] and bounds[1] < top and bottom < bounds[3]


def grid_for(grids: Sequence[Grid], crs: CRS | None = None) -> Grid:
    """Return the grid that holds all others.

    In the CRS of the first, pixels are those of the first, so that it is not resampled; in another
    they are about as large, square, and lie on whole multiples of their size.

    Args:
        grids: What it must hold.
        crs: Its CRS; none: that of the first.

    Raises:
        GridMismatchError: There is no CRS to go by.
    """
    first = grids[0]
    if crs is None and len(grids) == 1:
        return first
    if any(grid.crs is None for grid in grids):
        raise GridMismatchError("a scene without CRS has no place on another grid; add its CRS")
    target = first.crs if crs is None else crs
    lattice = first if target == first.crs else _square_lattice(first, target)
    back = ~lattice.transform
    corners = [
        apply(back, x, y)
        for grid in grids
        for x in _across(grid, target)[::2]
        for y in _across(grid, target)[1::2]
    ]
    cols, rows = zip(*corners, strict=True)
    left, top = math.floor(min(cols) + _ALIGNED_PX), math.floor(min(rows) + _ALIGNED_PX)
    right, end = math.ceil(max(cols) - _ALIGNED_PX), math.ceil(max(rows) - _ALIGNED_PX)
    return lattice.crop(Window(left, top, right - left, end - top))


def _across(grid: Grid, crs: CRS) -> tuple[float, float, float, float]:
    if grid.crs == crs:
        return grid.bounds
    left, bottom, right, top = transform_bounds(grid.crs, crs, *grid.bounds)
    return left, bottom, right, top


def _square_lattice(grid: Grid, crs: CRS) -> Grid:
    try:
        found, _, _ = calculate_default_transform(
            grid.crs, crs, grid.width_px, grid.height_px, *grid.bounds
        )
    except RasterioError as error:
        raise GridMismatchError(f"the scene has no place in {crs.to_string()} ({error})") from error
    side = float(found.a)
    x, y = (math.floor(corner / side) * side for corner in (found.c, found.f))
    return Grid(crs, Affine(side, 0.0, x, 0.0, -side, y), 1, 1)
