"""Where grids lie on the Earth: footprints in degrees, whose longitudes meet modulo 360.

A footprint is worked with *unrolled*: its longitudes go on past 180 rather than jump. It is
*wrapped* into -180..180, cut at the antimeridian, where it is written down.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rsmeta.geo.grid import Bounds, Grid

logger = logging.getLogger(__name__)

WGS84 = "OGC:CRS84"
#: Points along each side of a grid: sides that are straight on the map bend on the globe.
_SIDE_POINTS = 16
#: Steps in longitude between points of an edge; near a pole more points are needed for it.
_STEP_DEG = 10.0
_MOST_HALVINGS = 40
#: How far inside its edge a footprint is taken where a pole lies on the edge, in pixels.
_INSET_PX = 1e-3
#: Points this near to the line between others are left out: a tenth of a metre.
_STRAIGHT_DEG = 1e-6
#: Longitudes nearer than this are the same.
_ROUNDING_DEG = 1e-9
_LATTICE = 33


def transformer(source: Any, target: Any) -> Transformer | None:
    """Return the way from one CRS to another, x before y; none where there is no way."""
    return _transformer(_text(source), _text(target))


def is_located(grid: Grid) -> bool:
    """Return whether a grid has a CRS that is tied to the Earth."""
    return grid.crs is not None and transformer(grid.crs, WGS84) is not None


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer | None:
    try:
        if any(CRS.from_user_input(crs).is_geocentric for crs in (source, target)):
            return None
        return Transformer.from_crs(source, target, always_xy=True)
    except ProjError:
        return None


def _text(crs: Any) -> str:
    return crs if isinstance(crs, str) else str(crs.to_wkt())


def unrolled(grid: Grid, crs: Any = WGS84) -> shapely.Geometry | None:
    """Return the footprint of a grid in degrees; its western edge lies in -180..180.

    Args:
        grid: The grid.
        crs: A geographic CRS, in degrees.

    Returns:
        The footprint; a pole inside is reached by an edge along its latitude. None where the
        place of the grid is not known: no CRS, or one that is not tied to the Earth.
    """
    way = None if grid.crs is None else transformer(grid.crs, crs)
    if way is None:
        return None
    lon, lat = _edge(grid, way, inset_px=0.0)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return _envelope(grid, way)
    if np.abs(_short_way(np.diff(lon))).max() > _STEP_DEG:
        lon, lat = _edge(grid, way, inset_px=_INSET_PX)
    lon = lon[0] + np.concatenate([[0.0], np.cumsum(_short_way(np.diff(lon)))])
    if abs(lon[-1] - lon[0]) > 180:  # once round the Earth: a pole is inside
        pole = 90.0 if lat[np.abs(lat).argmax()] > 0 else -90.0
        lon = np.concatenate([lon, [lon[-1], lon[0]]])
        lat = np.concatenate([lat, [pole, pole]])
    lon = np.clip(lon, lon.min(), lon.min() + 360)
    places = np.stack([lon - _turns(lon.min()), np.clip(lat, -90, 90)], axis=1)
    outline = shapely.simplify(mended(shapely.Polygon(places)), _STRAIGHT_DEG)
    return shapely.orient_polygons(outline)


def outline(grid: Grid) -> shapely.Polygon:
    """Return the edge of a grid, rotated or not, as a polygon in its own CRS."""
    corners = (
        np.array([0, grid.width_px, grid.width_px, 0]),
        np.array([0, 0, grid.height_px, grid.height_px]),
    )
    return shapely.Polygon(np.stack(grid.xy(*corners), axis=1))


def footprint(grid: Grid) -> shapely.Geometry | None:
    """Return where a grid lies, in degrees within -180..180, cut at the antimeridian.

    None where that is not known: no CRS, or one that is not tied to the Earth.
    """
    place = unrolled(grid)
    return None if place is None else wrapped(place)


def wrapped(outline: shapely.Geometry) -> shapely.Geometry:
    """Return an unrolled footprint within -180..180, cut at the antimeridian."""
    west, _, east, _ = outline.bounds
    turns = range(int(np.floor((west + 180) / 360)), int(np.ceil((east + 180) / 360)) or 1)
    parts = [
        shapely.intersection(shifted(outline, -360.0 * turn), shapely.box(-180, -90, 180, 90))
        for turn in turns
    ]
    polygons = [part for part in shapely.get_parts(parts) if part.area > 0]
    return shapely.orient_polygons(shapely.union_all(polygons))


def mended(polygons: Any) -> Any:
    """Return polygons made valid; lines and points that they collapse to are left out."""
    valid = shapely.is_valid(polygons)
    if np.all(valid):
        return polygons
    return shapely.make_valid(polygons, method="structure", keep_collapsed=False)


def shifted(geometry: Any, x: float) -> Any:
    """Return geometries moved along x."""
    return (
        shapely.transform(geometry, lambda places: places + np.array([x, 0.0])) if x else geometry
    )


def bounds_lonlat(shapes: Sequence[shapely.Geometry]) -> Bounds:
    """Return (west, south, east, north) of footprints in degrees, unrolled or wrapped.

    They take the short way round the Earth: west is greater than east over the antimeridian.

    Source: RFC 7946, section 5.2.
    """
    west, south, east, north = shapely.bounds(shapely.get_parts(shapes)).T
    order = np.argsort((west + 180) % 360)
    starts = ((west + 180) % 360)[order]
    ends = starts + np.minimum(east - west, 360)[order]
    reach = np.maximum(np.maximum.accumulate(ends), ends.max() - 360)
    gaps = np.append(starts[1:], starts[0] + 360) - reach
    widest = int(gaps.argmax())
    sides = -180.0, 180.0
    if gaps[widest] > _STRAIGHT_DEG:
        first, last = starts[(widest + 1) % len(starts)] - 180, reach[widest] - 180
        # What begins or ends at the antimeridian, but for rounding, does not cross it.
        if abs(abs(last) - 180) < _ROUNDING_DEG:
            last = 180.0
        if abs(abs(first) - 180) < _ROUNDING_DEG:
            first = -180.0
        sides = float(first), float(last - 360 if last > 180 else last)
    return sides[0], float(south.min()), sides[1], float(north.max())


def hull(places: shapely.Geometry) -> shapely.Geometry:
    """Return the convex hull, in degrees, of wrapped footprints; over the antimeridian too."""
    west = bounds_lonlat([places])[0]
    parts = [shifted(part, 360.0 * (part.bounds[0] < west)) for part in shapely.get_parts(places)]
    return wrapped(shapely.convex_hull(shapely.union_all(parts)))


def _turns(lon: float) -> float:
    """Return the whole turns that bring a longitude into -180..180."""
    return float(360 * np.floor((lon + 180) / 360))


def _short_way(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return differences in longitude as the shorter of the two ways round."""
    return (lon + 180) % 360 - 180


def _edge(
    grid: Grid, way: Transformer, *, inset_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitudes and latitudes along the edge, closed, in steps too short to be mistaken."""
    along = np.linspace(0, 4, 4 * _SIDE_POINTS + 1)
    lon, lat = way.transform(*grid.xy(*_on_edge(grid, along, inset_px)))
    for _ in range(_MOST_HALVINGS):
        if not np.isfinite(lon).all():
            break
        wide = np.flatnonzero(np.abs(_short_way(np.diff(lon))) > _STEP_DEG)
        if not len(wide):
            break
        middle = (along[wide] + along[wide + 1]) / 2
        there = way.transform(*grid.xy(*_on_edge(grid, middle, inset_px)))
        along, lon, lat = (
            np.insert(values, wide + 1, more)
            for values, more in zip((along, lon, lat), (middle, *there), strict=True)
        )
    return lon, lat


def _on_edge(
    grid: Grid, along: NDArray[np.float64], inset_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (columns, rows) of places along the edge: 0 to 1 is the upper side, and so round."""
    side = (along % 4).astype(int)
    part = along % 1
    across = np.choose(side, [part, np.ones_like(part), 1 - part, np.zeros_like(part)])
    down = np.choose(side, [np.zeros_like(part), part, np.ones_like(part), 1 - part])
    width, height = grid.width_px - 2 * inset_px, grid.height_px - 2 * inset_px
    return inset_px + across * width, inset_px + down * height


def _envelope(grid: Grid, way: Transformer) -> shapely.Polygon | None:
    """Return a box around what of a grid lies on the Earth; a projection's corners may not."""
    cols, rows = np.meshgrid(
        np.linspace(0, grid.width_px, _LATTICE), np.linspace(0, grid.height_px, _LATTICE)
    )
    lon, lat = way.transform(*grid.xy(cols.ravel(), rows.ravel()))
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        return None
    lon, lat = np.sort(lon[known] % 360), lat[known]
    gaps = np.diff(np.append(lon, lon[0] + 360))
    widest = int(gaps.argmax())
    west = lon[(widest + 1) % len(lon)]
    width = 360 - gaps[widest] if gaps[widest] > 2 * _STEP_DEG else 360.0
    west = west - _turns(west) if width < 360 else -180.0
    box: shapely.Polygon = shapely.box(west, lat.min(), west + width, lat.max())
    return box
