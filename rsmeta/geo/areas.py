"""How much ground pixels cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from pyproj import CRS, Transformer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyproj import Geod

    from rsmeta.geo.grid import Grid

_WEB_MERCATOR = 3857


def row_areas_m2(grid: Grid) -> NDArray[np.float64] | None:
    """Return the area of one pixel in each row of a grid; none without a CRS.

    In degrees, and in Web Mercator, whose metres are none on the ground, it is that of the
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
