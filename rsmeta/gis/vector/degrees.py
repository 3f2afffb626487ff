"""Polygons of a map in degrees, cut at the antimeridian and closed around the poles.

Source: RFC 7946, section 3.1.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rsmeta.errors import OutputError
from rsmeta.geo.footprint import WGS84, mended, transformer, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rsmeta.geo.grid import Grid

#: Sides longer than this get points between: straight sides bend in degrees.
_LONGEST_PX = 64
#: Of degrees: a centimetre. Rounded before they are cut, so that no sliver is left by rounding.
_DECIMALS = 7


def in_degrees(shapes: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """Return polygons in the CRS of a grid in degrees of WGS 84; some become several polygons.

    Raises:
        OutputError: A polygon reaches beyond the Earth.
    """
    way = transformer(grid.crs, WGS84)
    if way is None:
        raise OutputError("polygons of a map without a place on the Earth have no degrees")
    dense = shapely.segmentize(shapes, _LONGEST_PX * max(grid.pixel_size))
    places, owner = shapely.get_coordinates(dense, return_index=True)
    lon, lat = (np.round(at, _DECIMALS) for at in way.transform(*places.T))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise OutputError("polygons reach beyond the Earth in the map's CRS")
    moved: NDArray[np.object_] = shapely.set_coordinates(dense, np.stack([lon, lat], axis=1))
    jumps = (owner[1:] == owner[:-1]) & (np.abs(np.diff(lon)) > 180)
    outside = np.abs(lon) > 180
    for index in np.union1d(owner[1:][jumps], owner[outside]):
        moved[index] = _cut(moved[index])
    return moved


def _cut(polygon: Any) -> Any:
    """Return a polygon whose longitudes jump, or leave -180..180, cut at the antimeridian."""
    shell, *holes = (_unrolled(ring) for ring in (polygon.exterior, *polygon.interiors))
    cut = wrapped(shell)
    return shapely.difference(cut, shapely.union_all([wrapped(hole) for hole in holes]))


def _unrolled(ring: Any) -> Any:
    """Return what a ring encloses, its longitudes without jumps; around a pole, up to it."""
    lon, lat = shapely.get_coordinates(ring).T
    lon = np.unwrap(lon, period=360)
    places: Sequence[NDArray[np.float64]] = [np.stack([lon, lat], axis=1)]
    if abs(lon[-1] - lon[0]) > 180:
        pole = 90.0 if lat.mean() > 0 else -90.0
        places = [*places, np.array([[lon[-1], pole], [lon[0], pole]])]
    return mended(shapely.Polygon(np.concatenate(places)))
