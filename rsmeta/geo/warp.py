"""Rasters on other grids: which grid holds some others, and reading one as it lies on another.

Longitudes meet modulo 360, and so do the x of Web Mercator modulo a turn around the Earth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from rsmeta.errors import GridMismatchError
from rsmeta.geo.footprint import WGS84, outline, unrolled
from rsmeta.geo.grid import Grid
from rsmeta.geo.reprojection import is_torn, places_of, way_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Lattices whose pixels lie this close to each other, in pixels, are one.
ALIGNED_PX = 1e-4
_WEB_MERCATOR = 3857
_DEGREES = 360.0
#: Stands for the CRS of rasters without one: GDAL warps between named CRSs only.
_ANY_CRS = "EPSG:32633"
_MERCATOR_TURN_M = 2 * math.pi * 6378137.0


def warped(dataset: Any, grid: Grid, **options: Any) -> WarpedVRT:
    """Return a raster as it lies on another grid; the caller closes it.

    Args:
        dataset: As rasterio opened it.
        grid: The grid.
        options: Of ``rasterio.vrt.WarpedVRT``, such as ``resampling``.
    """
    own = Grid(dataset.crs, dataset.transform, dataset.height, dataset.width)
    crs = grid.crs or own.crs or _ANY_CRS
    source = {"src_crs": own.crs or crs} | _centred(own, grid)
    return WarpedVRT(
        dataset, crs=crs, transform=grid.transform, width=grid.width_px, height=grid.height_px,
        **source, **options,
    )  # fmt: skip


def _centred(own: Grid, grid: Grid) -> dict[str, Any]:
    """Return what makes PROJ look for places around the middle of a raster, not around 0.

    PROJ gives longitudes within -180..180, so that GDAL finds nothing of a raster beyond. Only
    where it matters: the PROJ string that can say so has fewer datums than the CRS itself.
    """
    turn = period(own.crs)
    if turn is None or own.crs is None:
        return {}
    left, _, right, _ = own.bounds
    reach = [left, right, *(grid.bounds[::2] if period(grid.crs) == turn == _DEGREES else ())]
    if max(map(abs, reach)) <= turn / 2 * (1 + 1e-9):
        return {}
    centre = (left + right) / 2
    if turn == _DEGREES:
        return {"src_crs": CRS.from_string(f"{own.crs.to_proj4()} +lon_wrap={centre} +type=crs")}
    t = own.transform
    return {
        "src_crs": CRS.from_string(
            f"+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0={360 * centre / turn} +k=1 "
            f"+units=m +nadgrids=@null +type=crs"
        ),
        "src_transform": Affine(t.a, t.b, t.c - centre, t.d, t.e, t.f),
    }


def period(crs: CRS | None) -> float | None:
    """Return after how many units x is where it was; none where it never is."""
    if crs is None:
        return None
    if crs.is_geographic:
        return _DEGREES if crs.units_factor[0] == "degree" else None
    return _MERCATOR_TURN_M if crs.to_epsg() == _WEB_MERCATOR else None


def covering_grid(grids: Sequence[Grid], crs: CRS | None = None) -> Grid:
    """Return the grid that holds all others.

    Args:
        grids: What it must hold.
        crs: Its CRS. None: pixels are those of the first grid, which is not resampled then. A
            grid in this CRS already, north up, likewise; otherwise pixels are about as large as
            those of the first, square, north up, and lie on whole multiples of their size.

    Raises:
        GridMismatchError: A grid has no place in that CRS.
    """
    first = grids[0]
    if crs is None and len(grids) == 1:
        return first
    if any(grid.crs is None for grid in grids):
        raise GridMismatchError("a scene without CRS has no place on another grid; add its CRS")
    target = first.crs if crs is None else crs
    assert target is not None
    check_target(target)
    keeps = crs is None or (crs == first.crs and _is_north_up(first))
    lattice = first if keeps else _square_lattice(first, target)
    turn = period(target)
    corners, middle = [], None
    for grid in grids:
        places = _places(grid, target)
        if turn is not None:
            own = (places[:, 0].min() + places[:, 0].max()) / 2
            middle = own if middle is None else middle
            places[:, 0] -= turn * round((own - middle) / turn)
        corners.append(places)
    x, y = np.concatenate(corners).T
    cols, rows = Grid(None, ~lattice.transform, 1, 1).xy(x, y)
    left, top = (math.floor(at.min() + ALIGNED_PX) for at in (cols, rows))
    right, end = (math.ceil(at.max() - ALIGNED_PX) for at in (cols, rows))
    return lattice.crop(Window(left, top, right - left, end - top))


def check_target(crs: CRS) -> None:
    """Refuse a CRS that maps cannot have.

    Raises:
        GridMismatchError: It has no plane coordinates.
    """
    plane = pyproj.CRS.from_wkt(crs.to_wkt())
    if not (crs.is_projected or crs.is_geographic) or plane.is_geocentric:
        raise GridMismatchError(
            f"{crs.to_string()[:60]} ({plane.type_name}) has no map coordinates; name a projected "
            f"or geographic CRS, e.g. EPSG:3035"
        )


def _is_north_up(grid: Grid) -> bool:
    t = grid.transform
    return bool(t.b == t.d == 0 and t.a > 0 and t.e < 0)


def _places(grid: Grid, crs: CRS) -> NDArray[np.float64]:
    """Return places along the edge of a grid, and inside, in another CRS, (N, 2).

    Raises:
        GridMismatchError: It has no place there, or lies across the seam of the map.
    """
    if grid.crs == crs:
        return np.array(outline(grid).exterior.coords)
    turn = period(crs)
    if (
        turn is not None
        and (place := unrolled(grid, crs if turn == _DEGREES else WGS84)) is not None
    ):
        x, y = shapely.get_coordinates(place).T
        if turn != _DEGREES:
            x, y = x * turn / _DEGREES, way_to(WGS84, crs).transform(x, y)[1]
        return np.stack([x, y], axis=1)
    lattice = places_of(grid, crs)
    known = np.isfinite(lattice).all(axis=2)
    if not known.any():
        raise GridMismatchError(f"the scene has no place in {crs.to_string()[:60]}; choose another")
    if is_torn(lattice):
        raise GridMismatchError(
            f"the scene lies across the seam of {crs.to_string()[:60]}, or too far from where it "
            f"holds; choose a CRS that is made for its region"
        )
    found: NDArray[np.float64] = lattice[known]
    return found


def _square_lattice(grid: Grid, crs: CRS) -> Grid:
    """Return one north-up pixel as large as those of a grid, on a whole multiple of its size."""
    lattice = places_of(grid, crs)
    lattice[~np.isfinite(lattice)] = np.nan
    down, along = np.diff(lattice, axis=0)[:, :-1], np.diff(lattice, axis=1)[:-1]
    if (turn := period(crs)) is not None:
        for steps in (down, along):
            steps[..., 0] -= turn * np.round(steps[..., 0] / turn)
    areas = np.abs(down[..., 0] * along[..., 1] - down[..., 1] * along[..., 0])
    pixels = grid.width_px * grid.height_px / areas.size
    areas = areas[np.isfinite(areas)]
    if not len(areas) or not (side := math.sqrt(float(np.median(areas)) / pixels)):
        raise GridMismatchError(f"the scene has no place in {crs.to_string()[:60]}; choose another")
    return Grid(crs, Affine(side, 0.0, 0.0, 0.0, -side, 0.0), 1, 1)
