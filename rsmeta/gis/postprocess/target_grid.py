"""The grid that holds several maps: in the CRS of the first, or in another one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import shapely
from affine import Affine
from rasterio.windows import Window

from rsmeta.errors import GridMismatchError
from rsmeta.geo.footprint import outline, transformer, unrolled
from rsmeta.geo.grid import Grid
from rsmeta.geo.reprojection import in_degrees, is_torn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rasterio.crs import CRS

#: Lattices whose pixels lie this close to each other, in pixels, are one.
ALIGNED_PX = 1e-4
#: Points along the edge of a grid, about: straight sides bend in another CRS.
_EDGE_POINTS = 256
#: Places along each side of a grid at which its pixels are measured.
_SAMPLES = 5


def grid_for(grids: Sequence[Grid], crs: CRS | None = None) -> Grid:
    """Return the grid that holds all others.

    In the CRS of the first, pixels are those of the first, so that it is not resampled. In a CRS
    that is asked for, unless it is that of a first grid that is not rotated, they are square, as
    large as those of the first on average, and lie on whole multiples of their size.

    Args:
        grids: What it must hold. Longitudes meet modulo 360: grids at -170 and 190 are neighbours.
        crs: Its CRS; none: that of the first.

    Raises:
        GridMismatchError: A grid has no CRS, or no place in the one that is asked for.
    """
    first = grids[0]
    if crs is None and len(grids) == 1:
        return first
    if any(grid.crs is None for grid in grids):
        raise GridMismatchError("a scene without CRS has no place on another grid; add its CRS")
    target = first.crs if crs is None else crs
    assert target is not None  # every grid has one
    is_rotated = bool(first.transform.b or first.transform.d)
    keeps = target == first.crs and not (is_rotated and crs is not None)
    lattice = first if keeps else _square_lattice(first, target)
    edges = [_edge(grid, target) for grid in grids]
    if in_degrees(pyproj.CRS.from_wkt(target.to_wkt())):
        middle = edges[0][:, 0].mean()
        for edge in edges:
            edge[:, 0] += 360 * np.round((middle - edge[:, 0].mean()) / 360)
    x, y = np.concatenate(edges).T
    cols, rows = Grid(None, ~lattice.transform, 1, 1).xy(x, y)
    left, top = (math.floor(at.min() + ALIGNED_PX) for at in (cols, rows))
    right, end = (math.ceil(at.max() - ALIGNED_PX) for at in (cols, rows))
    return lattice.crop(Window(left, top, max(right - left, 1), max(end - top, 1)))


def _edge(grid: Grid, crs: CRS) -> NDArray[np.float64]:
    """Return (x, y) of places along the edge of a grid, (N, 2), longitudes without jumps."""
    frame = outline(grid)
    known: NDArray[np.float64] = shapely.get_coordinates(frame)
    if grid.crs == crs:
        return known
    target = pyproj.CRS.from_wkt(crs.to_wkt())
    way = transformer(grid.crs, crs)
    if way is not None:
        dense = shapely.get_coordinates(shapely.segmentize(frame, frame.length / _EDGE_POINTS))
        places = np.stack(way.transform(*dense.T), axis=1)
        known = places[np.isfinite(places).all(axis=1)]
        if in_degrees(target):
            known[:, 0] = np.unwrap(known[:, 0], period=360)
            if len(known) < len(places) or abs(known[-1, 0] - known[0, 0]) > 180:  # holds a pole
                known = shapely.get_coordinates(unrolled(grid, crs))
        elif is_torn(grid, target):
            raise GridMismatchError(
                f"a scene lies across the edge of the projection of {target.name}, where it is "
                f"torn apart; choose another CRS"
            )
        if len(known):
            return known
    raise GridMismatchError(f"a scene has no place in {target.name}; choose another CRS")


def _square_lattice(grid: Grid, crs: CRS) -> Grid:
    """Return north-up square pixels, on average as large as those of a grid."""
    way = transformer(grid.crs, crs)
    side = math.nan
    if way is not None:
        share = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        col, row = (at.ravel() for at in np.meshgrid(share * grid.width_px, share * grid.height_px))
        cols = np.stack([col - 0.5, col + 0.5, col, col])
        rows = np.stack([row, row, row - 0.5, row + 0.5])
        x, y = way.transform(*grid.xy(cols, rows))
        if in_degrees(pyproj.CRS.from_wkt(crs.to_wkt())):
            x = np.unwrap(x, period=360, axis=0)
        areas = np.abs((x[1] - x[0]) * (y[3] - y[2]) - (x[3] - x[2]) * (y[1] - y[0]))
        known = areas[np.isfinite(areas)]
        side = math.sqrt(known.mean()) if len(known) else math.nan
    if not side > 0:
        raise GridMismatchError(f"a scene has no place in {crs.to_string()}; choose another CRS")
    return Grid(crs, Affine(side, 0.0, 0.0, 0.0, -side, 0.0), 1, 1)
