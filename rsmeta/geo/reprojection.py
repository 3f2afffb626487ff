"""Polygons in another CRS: cut to where they are needed, then bent as the projection bends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import CRS
from rasterio.windows import Window, intersect

from rsmeta.errors import GridMismatchError
from rsmeta.geo.footprint import WGS84, mended, outline, shifted, transformer, unrolled
from rsmeta.geo.grid import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyproj import Transformer

    from rsmeta.geo.grid import Bounds

#: How far a reprojected edge may lie from where its points belong, in pixels.
_TOLERANCE_PX = 1e-4
_MOST_HALVINGS = 16
#: Where along an edge its bend is measured: one place alone may lie on both sides of an S.
_TRIED = (0.5, 0.3)
#: A cut reaches this share of the grid's size beyond it, so that its own edges stay outside.
_MARGIN = 0.05
_LATTICE = 49
#: Places next to each other on a grid are torn apart in a CRS where their distance is so many
#: times the usual one.
_TORN = 20.0
_METRES_PER_DEGREE = 111_320.0
_NOTHING = shapely.Polygon()


def onto_grid(polygons: NDArray[Any], crs: Any, grid: Grid) -> NDArray[Any]:
    """Return what of polygons lies on or about a grid, in its CRS.

    Longitudes meet modulo 360: polygons at -170 and a grid at 190 degrees do.

    Args:
        polygons: Valid polygons, (N,).
        crs: Their CRS; none where the grid has none.
        grid: The grid.

    Returns:
        (N,); empty where a polygon is nowhere near.

    Raises:
        GridMismatchError: There is no way from one CRS to the other.
    """
    if crs is None or grid.crs is None:
        return polygons
    source, target = CRS.from_user_input(crs), CRS.from_wkt(grid.crs.to_wkt())
    if source == target:
        return _modulo(polygons, grid.bounds) if in_degrees(source) else polygons
    way = way_to(source, target)
    if not in_degrees(source) and is_torn(places_of(grid, source)):
        # The grid lies across the seam of the polygons' map; degrees have none.
        tolerance_deg = _TOLERANCE_PX * (grid.gsd_m or 0.0) / _METRES_PER_DEGREE
        degrees = CRS.from_user_input(WGS84)
        return onto_grid(
            mended(bent(polygons, way_to(source, degrees), tolerance_deg)), WGS84, grid
        )
    bounds = _reach(grid, source)
    if bounds is None:
        return np.full(len(polygons), _NOTHING)
    near = _modulo(polygons, bounds) if in_degrees(source) else polygons
    near = shapely.intersection(near, shapely.box(*bounds))
    moved = bent(near, way, _TOLERANCE_PX * min(grid.pixel_size))
    if in_degrees(target):
        centre = (grid.bounds[0] + grid.bounds[2]) / 2
        moved = shapely.transform(moved, lambda places: _around(places, centre))
    result: NDArray[Any] = mended(moved)
    return result


def places_onto_grid(places: NDArray[np.float64], crs: Any, grid: Grid) -> NDArray[np.float64]:
    """Return places in the CRS of a grid, longitudes modulo 360; infinite where it shows none.

    Args:
        places: (x, y) of each, (N, 2).
        crs: Their CRS; none where the grid has none.
        grid: The grid.

    Raises:
        GridMismatchError: There is no way from one CRS to the other.
    """
    if crs is None or grid.crs is None:
        return places
    source, target = CRS.from_user_input(crs), CRS.from_wkt(grid.crs.to_wkt())
    if source != target:
        places = _moved(way_to(source, target), places)
    if in_degrees(target):
        places = _around(places, (grid.bounds[0] + grid.bounds[2]) / 2)
    return places


def cells_onto_grid(
    places: NDArray[np.float64], crs: Any, grid: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return column and row of the pixels that places lie in, (N,) each, whole numbers.

    They may lie outside the grid; infinite or NaN where it shows no such place.

    Args:
        places: (x, y) of each, (N, 2).
        crs: Their CRS; none where the grid has none.
        grid: The grid.

    Raises:
        GridMismatchError: There is no way from one CRS to the other.
    """
    x, y = places_onto_grid(places, crs, grid).T
    back = ~grid.transform
    with np.errstate(invalid="ignore"):
        cols, rows = back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f
    return np.floor(cols), np.floor(rows)


def pixels_of_points(points: NDArray[Any], crs: Any, grid: Grid) -> NDArray[Any]:
    """Return the pixels of a grid that points lie in, as areas in its CRS.

    Args:
        points: Points and multipoints, (N,).
        crs: Their CRS; none where the grid has none.
        grid: The grid.

    Returns:
        (N,); empty where a point lies outside the grid.

    Raises:
        GridMismatchError: There is no way from one CRS to the other.
    """
    places, owner = shapely.get_coordinates(points, return_index=True)
    cols, rows = cells_onto_grid(places, crs, grid)
    inside = (cols >= 0) & (cols < grid.width_px) & (rows >= 0) & (rows < grid.height_px)
    cols, rows, owner = cols[inside], rows[inside], owner[inside]
    t = grid.transform
    squares = shapely.transform(
        shapely.box(cols, rows, cols + 1, rows + 1),
        lambda at: at @ np.array([[t.a, t.d], [t.b, t.e]]) + (t.c, t.f),
    )
    found = np.full(len(points), _NOTHING)
    shapely.multipolygons(squares, indices=owner, out=found)
    pixels: NDArray[Any] = mended(found)
    return pixels


def window_of(grid: Grid, bounds: Bounds) -> Window | None:
    """Return the window of a grid nearest to bounds in degrees, in whole pixels.

    Args:
        grid: The grid; it has a CRS.
        bounds: (west, south, east, north); west is greater than east over the antimeridian.

    Returns:
        At least one pixel, inside the grid; none: the bounds do not meet it.
    """
    west, south, east, north = bounds
    place = shapely.box(west, south, east if east > west else east + 360, north)
    laid = onto_grid(np.array([place]), WGS84, grid)[0]
    if not shapely.intersects(laid, outline(grid)):
        return None
    x, y = shapely.get_coordinates(laid).T
    cols, rows = Grid(None, ~grid.transform, 1, 1).xy(x, y)
    col, row = (int(np.floor(places.min() + 0.5)) for places in (cols, rows))
    end_col, end_row = (int(np.floor(places.max() + 0.5)) for places in (cols, rows))
    near = Window(col, row, max(end_col - col, 1), max(end_row - row, 1))
    return near.intersection(grid.full_window) if intersect(near, grid.full_window) else None


def way_to(source: Any, target: Any) -> Transformer:
    """Return the way from one CRS to another, x before y.

    Raises:
        GridMismatchError: There is none.
    """
    way = transformer(source, target)
    if way is None:
        names = [CRS.from_user_input(crs).name for crs in (source, target)]
        raise GridMismatchError(f"coordinates of {names[0]} cannot become {names[1]}")
    return way


def in_degrees(crs: CRS) -> bool:
    """Return whether the coordinates of a CRS are longitudes and latitudes in degrees."""
    return crs.is_geographic and crs.axis_info[0].unit_name == "degree"


def bent(polygons: NDArray[Any], way: Transformer, tolerance: float) -> NDArray[Any]:
    """Return polygons in another CRS, with more corners where straight edges become bent.

    Args:
        polygons: (N,); of collections their polygons.
        way: From their CRS to the other.
        tolerance: How far an edge may lie from where it belongs, in units of the other CRS.

    Returns:
        (N,) polygons, which may be invalid; what the other CRS cannot show is left out.
    """
    result = np.full(len(polygons), _NOTHING)
    parts, owner = shapely.get_parts(polygons, return_index=True)
    flat = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)
    parts, owner = parts[flat], owner[flat]
    rings, part_of = shapely.get_rings(parts, return_index=True)
    places, ring_of = shapely.get_coordinates(rings, return_index=True)
    moved, ring_of = _bent_lines(places, ring_of, way, tolerance)
    known = np.isfinite(moved).all(axis=1)
    moved, ring_of = moved[known], ring_of[known]
    whole = np.bincount(ring_of, minlength=len(rings)) > 3
    shell_of = np.searchsorted(part_of, part_of)  # the first ring of each part
    whole &= whole[shell_of]
    if not whole.any():
        return result
    corners = whole[ring_of]
    fresh = shapely.linearrings(moved[corners], indices=_renumbered(ring_of[corners]))
    kept = part_of[whole]
    shapes = shapely.polygons(fresh, indices=_renumbered(kept))
    shapely.multipolygons(shapes, indices=owner[np.unique(kept)], out=result)
    return result


def _renumbered(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(numbers, return_inverse=True)[1]


def _bent_lines(
    places: NDArray[np.float64], line_of: NDArray[np.int64], way: Transformer, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return corners of lines in another CRS, and the number of the line of each."""
    moved = _moved(way, places)
    open_edges = np.flatnonzero(line_of[1:] == line_of[:-1])
    for _ in range(_MOST_HALVINGS):
        tried = [
            places[open_edges] + share * (places[open_edges + 1] - places[open_edges])
            for share in _TRIED
        ]
        there = [_moved(way, some) for some in tried]
        ends = moved[open_edges], moved[open_edges + 1]
        near = np.logical_and.reduce([_distance(some, *ends) <= tolerance for some in there])
        halved = open_edges[~near]
        if not len(halved):
            break
        places = np.insert(places, halved + 1, tried[0][~near], axis=0)
        moved = np.insert(moved, halved + 1, there[0][~near], axis=0)
        line_of = np.insert(line_of, halved + 1, line_of[halved])
        first = halved + np.arange(len(halved))
        open_edges = np.sort(np.concatenate([first, first + 1]))
    return moved, line_of


def _moved(way: Transformer, places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(way.transform(places[:, 0], places[:, 1]), axis=1)


def _distance(
    places: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far places lie from the edges beside them; 0 where neither can be shown."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        edge, away = end - start, places - start
        share = (edge * away).sum(axis=1) / (edge**2).sum(axis=1)
        share = np.clip(np.nan_to_num(share), 0, 1)
        distance = np.hypot(*(away - share[:, np.newaxis] * edge).T)
    shown = np.isfinite([places, start, end]).all(axis=2).sum(axis=0)
    return np.where(shown == 3, distance, np.where(shown == 0, 0.0, np.inf))


def _modulo(polygons: NDArray[Any], bounds: Bounds) -> NDArray[Any]:
    """Return polygons moved by whole turns of longitude to where they meet bounds.

    A polygon that meets them in several places is there in all of them.
    """
    left, _, right, _ = shapely.bounds(polygons).T
    first = np.ceil((bounds[0] - np.nanmax(right, initial=-np.inf)) / 360)
    last = np.floor((bounds[2] - np.nanmin(left, initial=np.inf)) / 360)
    copies = []
    for turn in range(int(first), int(last) + 1):
        meets = (left + 360 * turn <= bounds[2]) & (right + 360 * turn >= bounds[0])
        copies.append(np.where(meets, shifted(polygons, 360.0 * turn), _NOTHING))
    if len(copies) < 2:
        return copies[0] if copies else np.full(len(polygons), _NOTHING)
    joined: NDArray[Any] = shapely.union_all(np.stack(copies), axis=0)
    return joined


def _around(places: NDArray[np.float64], centre: float) -> NDArray[np.float64]:
    """Return places with longitudes within half a turn of a centre."""
    turns = np.round((places[:, 0] - centre) / 360)
    return np.stack([places[:, 0] - 360 * turns, places[:, 1]], axis=1)


def places_of(grid: Grid, crs: Any) -> NDArray[np.float64]:
    """Return places all over a grid in another CRS, (rows, cols, 2); infinite where it has none.

    Raises:
        GridMismatchError: There is no way from one CRS to the other.
    """
    cols, rows = np.meshgrid(
        np.linspace(0, grid.width_px, _LATTICE), np.linspace(0, grid.height_px, _LATTICE)
    )
    return np.stack(way_to(grid.crs, crs).transform(*grid.xy(cols, rows)), axis=2)


def is_torn(places: NDArray[np.float64]) -> bool:
    """Return whether neighbours among places, (rows, cols, 2), lie far apart."""
    with np.errstate(invalid="ignore"):
        steps = [np.linalg.norm(np.diff(places, axis=axis), axis=2) for axis in (0, 1)]
    lengths = np.concatenate([step.ravel() for step in steps])
    lengths = lengths[np.isfinite(lengths)]
    return bool(len(lengths) and lengths.max() > _TORN * np.median(lengths))


def _reach(grid: Grid, crs: CRS) -> Bounds | None:
    """Return bounds in another CRS that hold a grid and a little more; none: it is not there."""
    if in_degrees(crs):
        place = unrolled(grid, crs)
        if place is None:
            return None
        left, bottom, right, top = place.bounds
    else:
        places = places_of(grid, crs)
        if not (known := np.isfinite(places).all(axis=2)).any():
            return None
        (left, bottom), (right, top) = places[known].min(axis=0), places[known].max(axis=0)
    x, y = _MARGIN * (right - left), _MARGIN * (top - bottom)
    left, bottom, right, top = left - x, bottom - y, right + x, top + y
    if in_degrees(crs):
        bottom, top = max(bottom, -90.0), min(top, 90.0)
        if right - left > 360:
            left, right = (left + right) / 2 - 180, (left + right) / 2 + 180
    return float(left), float(bottom), float(right), float(top)
