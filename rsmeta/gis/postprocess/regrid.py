"""Read a window of a raster on another grid; longitudes meet modulo 360."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window, intersect

from rsmeta.geo.footprint import unrolled
from rsmeta.geo.grid import Grid, apply, whole_pixels
from rsmeta.geo.handles import open_raster, reading
from rsmeta.gis.postprocess.target_grid import ALIGNED_PX

if TYPE_CHECKING:
    from pathlib import Path

    from rasterio.enums import Resampling

    from rsmeta.geo.grid import Bounds

#: Error that GDAL may make where it approximates a projection, in pixels: hardly any, so that
#: pixels do not depend on the window in which they are read. It does not accept 0.
_TOLERANCE_PX = 1e-4

#: From this ratio of pixel sizes on, a pixel is made of all that it covers; below it hardly
#: anything is missed when it is interpolated.
COARSER = 2.0


def turns_to(own: Grid, grid: Grid) -> tuple[float, ...]:
    """Return by how much a grid must be moved along x to meet another; empty: they do not meet.

    0, and whole turns of longitude. They are only certain not to meet.
    """
    if own.crs is None or own.crs == grid.crs:
        degrees = own.crs is not None and own.crs.is_geographic
        turns = (0.0, -360.0, 360.0) if degrees else (0.0,)
        return tuple(turn for turn in turns if _meet(own.bounds, grid.bounds, turn))
    there, here = _bounds_lonlat(own), _bounds_lonlat(grid)
    if there is None or here is None:
        return (0.0,)
    return (0.0,) if any(_meet(there, here, 360.0 * turn) for turn in range(-2, 3)) else ()


def _meet(own: Bounds, grid: Bounds, x: float) -> bool:
    left, bottom, right, top = grid
    return own[0] < right + x and left + x < own[2] and own[1] < top and bottom < own[3]


@lru_cache(maxsize=64)
def _bounds_lonlat(grid: Grid) -> Bounds | None:
    place = unrolled(grid)
    if place is None:
        return None
    west, south, east, north = place.bounds
    slack = 1e-5 * max(east - west, north - south, 1e-3)  # footprints are simplified
    return west - slack, south - slack, east + slack, north + slack


def read_on(
    path: Path, own: Grid, grid: Grid, resampling: Resampling, *, ratio: float = 1.0
) -> np.ndarray:
    """Read a raster on another grid, (bands, h, w) float32, NaN where it has no data.

    Args:
        path: The raster.
        own: Its grid.
        grid: The grid to read it on.
        resampling: How a number comes from its neighbours.
        ratio: As of ``ratio_of`` for the whole target: GDAL would judge it anew for each window,
            and pixels would depend on the window in which they are read.
    """
    dataset = open_raster(str(path))
    values = np.full((dataset.count, *grid.shape), np.nan, np.float32)
    with reading(str(path)):
        for turn in turns_to(own, grid):
            moved = Affine.translation(turn, 0) * grid.transform
            target = Grid(grid.crs, moved, grid.height_px, grid.width_px)
            found = _read(dataset, own, target, resampling, ratio)
            values = np.where(np.isnan(values), found, values)
    return values


def _read(dataset: Any, own: Grid, grid: Grid, resampling: Resampling, ratio: float) -> np.ndarray:
    offset = _offset(own, grid)
    if offset is not None:
        col, row = offset
        return _padded(dataset, Window(col, row, grid.width_px, grid.height_px))
    scale = 1 / ratio if ratio >= COARSER else 1.0
    source = _within_180(own) if own.crs != grid.crs else own
    with WarpedVRT(
        dataset, src_crs=source.crs, src_transform=source.transform, src_nodata=dataset.nodata,
        crs=grid.crs, transform=grid.transform, width=grid.width_px, height=grid.height_px,
        nodata=np.nan, resampling=resampling, dtype="float32",
        tolerance=_TOLERANCE_PX, XSCALE=scale, YSCALE=scale,
    ) as warped:  # fmt: skip
        values: np.ndarray = warped.read()
    return values


def _within_180(own: Grid) -> Grid:
    """Return a grid in degrees that leaves -180..180 with longitudes from its own middle.

    PROJ returns longitudes within half a turn of the prime meridian.
    """
    left, _, right, _ = own.bounds
    if own.crs is None or not own.crs.is_geographic or (left >= -180 and right <= 180):
        return own
    middle = (left + right) / 2
    wkt = own.crs.to_wkt(version="WKT1_GDAL")
    found = re.search(r'PRIMEM\["[^"]*",([-+.\deE]+)[^\]]*(\["[^\]]*\])?\]', wkt)
    if found is None:
        return own
    meridian = f'PRIMEM["middle of the map",{float(found[1]) + middle!r}]'
    wkt = re.sub(r',AUTHORITY\["[^"]*","[^"]*"\]\]$', "]", wkt.replace(found[0], meridian))
    crs = CRS.from_wkt(wkt)
    moved = Affine.translation(-middle, 0) * own.transform
    return Grid(crs, moved, own.height_px, own.width_px)


def ratio_of(own: Grid, grid: Grid) -> float:
    """Return the side of a grid's pixels over that of a map's own pixels."""
    if own.gsd_m is not None and grid.gsd_m is not None:
        return grid.gsd_m / own.gsd_m
    return math.sqrt(abs(grid.transform.determinant / own.transform.determinant))


def _padded(dataset: Any, window: Window) -> np.ndarray:
    """Read a window that may reach over the edges of a raster."""
    row, col, height, width = whole_pixels(window)
    values = np.full((dataset.count, height, width), np.nan, np.float32)
    full = Window(0, 0, dataset.width, dataset.height)
    if not intersect(window, full):
        return values
    inside = window.intersection(full)
    there = np.s_[
        :,
        int(inside.row_off) - row : int(inside.row_off + inside.height) - row,
        int(inside.col_off) - col : int(inside.col_off + inside.width) - col,
    ]
    found = dataset.read(window=inside).astype(np.float32)
    if dataset.nodata is not None and not math.isnan(dataset.nodata):
        found[found == dataset.nodata] = np.nan
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
    aligned = abs(col - round(col)) < ALIGNED_PX and abs(row - round(row)) < ALIGNED_PX
    return (round(col), round(row)) if aligned else None
