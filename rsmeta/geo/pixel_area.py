"""The area of pixels on the Earth."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pyproj import CRS, Proj, Transformer
from rasterio.windows import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyproj import Geod

    from rsmeta.geo.grid import Grid

_WEB_MERCATOR = 3857
#: Between places as far apart the scale of a projection changes by less than 3e-6 of itself.
_SCALE_STEP_M = 30_000.0
#: Pixels whose areas are in memory at once.
_ROWS_PX = 2**19


def row_areas_m2(grid: Grid) -> NDArray[np.float64] | None:
    """Return the area of one pixel in each row of a grid; none without a CRS.

    In degrees, and in Web Mercator, whose metres are not those on the ground, it is that of the
    pixel's outline on the ellipsoid, taken in the middle of the row; elsewhere that of the map
    projection.

    Returns:
        (height_px,) in m².

    Source: Karney 2013, "Algorithms for geodesics", section 6, as PROJ has it.
    """
    if grid.crs is None:
        return None
    if not (grid.crs.is_geographic or grid.crs.to_epsg() == _WEB_MERCATOR):
        metres = float(grid.crs.linear_units_factor[1]) if grid.crs.is_projected else 1.0
        return np.full(grid.height_px, abs(grid.transform.determinant) * metres**2)
    crs = CRS.from_wkt(grid.crs.to_wkt())
    rows = np.arange(grid.height_px + 1, dtype=np.float64)
    middle = np.full_like(rows, grid.width_px // 2)
    sides = [grid.xy(middle + step, rows) for step in (0, 1)]
    if not crs.is_geographic:
        to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        sides = [to_degrees.transform(*side) for side in sides]
    outlines = np.stack([np.stack(side) for side in sides])  # (side, lon and lat, row)
    scale = np.degrees(float(grid.crs.units_factor[1])) if crs.is_geographic else 1.0
    (lon_a, lat_a), (lon_b, lat_b) = outlines * scale
    geod = cast("Geod", crs.get_geod())  # there is one for every CRS of degrees
    corners = (
        np.stack([lon_a[:-1], lon_b[:-1], lon_b[1:], lon_a[1:]], axis=1),
        np.stack([lat_a[:-1], lat_b[:-1], lat_b[1:], lat_a[1:]], axis=1),
    )
    areas = [geod.polygon_area_perimeter(*pixel)[0] for pixel in zip(*corners, strict=True)]
    return np.abs(np.array(areas, dtype=np.float64))


def pixel_areas_m2(grid: Grid) -> NDArray[np.float64] | None:
    """Return the area of each pixel of a grid, on the ellipsoid; none without a CRS.

    For a projected CRS the area in the projection is divided by its areal scale; where PROJ
    has none, and in a CRS that is local to a site, it is that of the projection.

    Returns:
        In m², broadcastable to (height_px, width_px).

    Source: Snyder 1987, "Map Projections: A Working Manual", chapter 4: areal scale, as PROJ has
    it.
    """
    rows = row_areas_m2(grid)
    if rows is None or grid.crs is None:
        return None
    is_flat = grid.crs.is_projected and grid.crs.to_epsg() != _WEB_MERCATOR
    if not is_flat:
        return rows[:, np.newaxis]
    size = max(grid.pixel_size) * float(grid.crs.linear_units_factor[1])
    down = _knots(grid.height_px, _SCALE_STEP_M / size)
    along = _knots(grid.width_px, _SCALE_STEP_M / size)
    scale = _areal_scale(grid, along, down)
    by_row = _between(scale.T, along, grid.width_px).T
    whole = _between(by_row, down, grid.height_px)
    areas: NDArray[np.float64] = rows[:, np.newaxis] / whole
    return areas


def cover_of(
    classes: NDArray[Any], valid: NDArray[np.bool_], grid: Grid, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return how many pixels, and what area, each class covers.

    Args:
        classes: Class indices, (h, w); what they say of invalid pixels is ignored.
        valid: Which pixels count, (h, w).
        grid: Place of the pixels.
        count: Number of classes K.

    Returns:
        Pixels (K,), and m² (K,) on the ellipsoid; none without a CRS.
    """
    pixels = np.zeros(count, dtype=np.int64)
    area_m2 = None if grid.crs is None else np.zeros(count)
    step = max(_ROWS_PX // grid.width_px, 1)
    for top in range(0, grid.height_px, step):  # areas take 8 bytes per pixel
        rows = slice(top, min(top + step, grid.height_px))
        known = valid[rows]
        found = classes[rows][known]
        pixels += np.bincount(found, minlength=count)
        areas = pixel_areas_m2(grid.crop(Window(0, top, grid.width_px, rows.stop - top)))
        if area_m2 is not None and areas is not None:
            weights = np.broadcast_to(areas, known.shape)[known]
            area_m2 += np.bincount(found, weights=weights, minlength=count)
    return pixels, area_m2


def _knots(count: int, step: float) -> NDArray[np.float64]:
    """Return places in pixels between which a scale is as good as straight, ends included."""
    return np.linspace(0, count, 2 + int(count / max(step, 1)))


def _between(
    values: NDArray[np.float64], knots: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Return values in the middle of pixels, (count, n), linear between (K, n) at knots."""
    middle = np.arange(count) + 0.5
    found = np.empty((count, values.shape[1]))
    for left, right in pairwise(range(len(knots))):
        part = slice(*np.searchsorted(middle, knots[[left, right]]))
        slope = (values[right] - values[left]) / (knots[right] - knots[left])
        np.multiply(slope, (middle[part] - knots[left])[:, np.newaxis], out=found[part])
        found[part] += values[left]
    return found


def _areal_scale(
    grid: Grid, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much larger areas are in the projection, (rows, cols)."""
    crs = CRS.from_wkt(cast("CRS", grid.crs).to_wkt())
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(*grid.xy(*np.meshgrid(cols, rows)))
    scale = np.asarray(Proj(crs).get_factors(lon, lat).areal_scale, dtype=np.float64)
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
