"""Where the pixels of a raster lie: CRS, transform and shape as one immutable value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from affine import Affine
from rasterio.windows import Window

from rsmeta.geo.footprint import bounds_lonlat, unrolled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from rasterio.crs import CRS

Bounds = tuple[float, float, float, float]

# WGS 84 (EPSG:7030). Other ellipsoids of the Earth differ by less than 2e-4 in radius.
_SEMI_MAJOR_M = 6378137.0
_ECCENTRICITY_2 = 0.0066943799901413165
_WEB_MERCATOR = 3857

#: Pixels that lie so near each other are the same, over the whole extent of a grid.
_ALIGNED_PX = 0.1


@dataclass(frozen=True)
class Grid:
    """A raster's georeferencing; equal only if exactly equal.

    Args:
        crs: Coordinate reference system; none where the file has none.
        transform: From (column, row) of pixel corners to (x, y) in CRS units.
        height_px: Rows.
        width_px: Columns.
    """

    crs: CRS | None
    transform: Affine
    height_px: int
    width_px: int

    def __hash__(self) -> int:
        # Equal CRSs may hash differently, so the CRS stays out.
        return hash((self.transform, self.height_px, self.width_px))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height_px, self.width_px

    @property
    def full_window(self) -> Window:
        """The window of all pixels."""
        return Window(0, 0, self.width_px, self.height_px)

    @property
    def bounds(self) -> Bounds:
        """(left, bottom, right, top) in CRS units; the envelope where the grid is rotated."""
        corners = [(0, 0), (self.width_px, 0), (0, self.height_px), (self.width_px, self.height_px)]
        xs, ys = zip(*(apply(self.transform, *corner) for corner in corners), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Length of a pixel's sides (along a row, along a column) in CRS units."""
        t = self.transform
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)

    @property
    def gsd_m(self) -> float | None:
        """Ground sample distance: root of a pixel's area, in metres; none without a CRS.

        For geographic coordinates and Web Mercator it holds at the grid's centre.
        """
        if self.crs is None:
            return None
        area = abs(self.transform.determinant)
        if self.crs.is_geographic:
            radians = float(self.crs.units_factor[1])
            return math.sqrt(area * _square_radian_m2(self._centre[1] * radians)) * radians
        metres = float(self.crs.linear_units_factor[1]) if self.crs.is_projected else 1.0
        if self.crs.is_projected and self.crs.to_epsg() == _WEB_MERCATOR:
            metres /= math.cosh(self._centre[1] / _SEMI_MAJOR_M)
        return math.sqrt(area) * metres

    @property
    def _centre(self) -> tuple[float, float]:
        return apply(self.transform, self.width_px / 2, self.height_px / 2)

    def crop(self, window: Window) -> Grid:
        """Return the grid of a window, which may reach over the edges.

        Args:
            window: Whole pixels of this grid.

        Raises:
            ValueError: The window is empty or does not hold whole pixels.
        """
        row, col, height_px, width_px = whole_pixels(window)
        t = self.transform
        x, y = apply(t, col, row)
        return Grid(self.crs, Affine(t.a, t.b, x, t.d, t.e, y), height_px, width_px)

    def windows(self, step_px: int) -> Iterator[Window]:
        """Yield windows that cover the grid exactly, row by row, smaller at its far edges.

        Args:
            step_px: Their side.
        """
        for row in range(0, self.height_px, step_px):
            for col in range(0, self.width_px, step_px):
                width, height = (
                    min(step_px, self.width_px - col),
                    min(step_px, self.height_px - row),
                )
                yield Window(col, row, width, height)

    def coarser(self, factor: int) -> Grid:
        """Return a grid of the same origin and CRS whose pixels are ``factor`` times as long.

        The last ones reach over the edges where the sides are no multiples of it.

        Raises:
            ValueError: The factor is below 1.
        """
        if factor < 1:
            raise ValueError(f"a grid cannot become {factor} times coarser")
        t = self.transform
        longer = Affine(t.a * factor, t.b * factor, t.c, t.d * factor, t.e * factor, t.f)
        height_px, width_px = (-(-side // factor) for side in self.shape)
        return Grid(self.crs, longer, height_px, width_px)

    def window(self, bounds: Bounds) -> Window:
        """Return the window nearest to bounds, in whole pixels, at least one; not clipped.

        Args:
            bounds: (left, bottom, right, top) in CRS units.
        """
        left, bottom, right, top = bounds
        back = ~self.transform
        corners = [apply(back, x, y) for x in (left, right) for y in (bottom, top)]
        cols, rows = zip(*corners, strict=True)
        col, end_col = _nearest(min(cols)), _nearest(max(cols))
        row, end_row = _nearest(min(rows)), _nearest(max(rows))
        return Window(col, row, max(end_col - col, 1), max(end_row - row, 1))

    def shift_px(self, other: Grid, *, tolerance_px: float = _ALIGNED_PX) -> tuple[int, int] | None:
        """Return by how many whole pixels this grid begins right of and below another.

        None where their pixels do not lie on each other: the CRSs differ, or some pixel of this
        grid is off by more than ``tolerance_px``. Longitudes meet modulo 360.
        """
        if self.crs != other.crs:
            return None
        t = other.transform
        if self.crs is not None and self.crs.is_geographic:
            turn = 2 * math.pi / float(self.crs.units_factor[1])
            turns = round((self._centre[0] - other._centre[0]) / turn)
            t = Affine(t.a, t.b, t.c + turns * turn, t.d, t.e, t.f)
        back, corners = ~t, ((0, 0), (self.width_px, 0), (0, self.height_px))
        places = [apply(back, *apply(self.transform, *corner)) for corner in corners]
        col, row = (_nearest(position) for position in places[0])
        off = [
            max(abs(x - col - c), abs(y - row - r))
            for (x, y), (c, r) in zip(places, corners, strict=True)
        ]
        return (col, row) if max(off) <= tolerance_px else None

    def xy(self, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (x, y) in CRS units of places in pixels; (0.5, 0.5) is the first centre."""
        t = self.transform
        return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f

    def bounds_lonlat(self) -> Bounds | None:
        """Return (west, south, east, north) in degrees WGS 84.

        West is greater than east where the grid crosses the antimeridian. None where its place
        on the Earth is not known.
        """
        place = unrolled(self)
        return None if place is None else bounds_lonlat([place])


def apply(transform: Affine, col: float, row: float) -> tuple[float, float]:
    """Return (x, y) of a place in pixels; ``*`` and ``@`` differ between versions of affine."""
    t = transform
    return float(t.a * col + t.b * row + t.c), float(t.d * col + t.e * row + t.f)


def whole_pixels(window: Window) -> tuple[int, int, int, int]:
    """Return (row, column, height, width) of a window.

    Raises:
        ValueError: The window is empty or does not hold whole pixels.
    """
    given = (window.row_off, window.col_off, window.height, window.width)
    row, col, height, width = (int(number) for number in given)
    if (row, col, height, width) != given or height < 1 or width < 1:
        raise ValueError(f"{window} is no window of whole pixels")
    return row, col, height, width


def _nearest(position: float) -> int:
    return math.floor(position + 0.5)


def _square_radian_m2(latitude: float) -> float:
    """Return the area in m² of one radian of longitude by one of latitude.

    Source: radii of curvature of the meridian and of the prime vertical; Snyder 1987, "Map
    Projections: A Working Manual", equations 4-18 and 4-20.
    """
    latitude = min(max(latitude, -math.pi / 2), math.pi / 2)
    w2 = 1 - _ECCENTRICITY_2 * math.sin(latitude) ** 2
    meridian = _SEMI_MAJOR_M * (1 - _ECCENTRICITY_2) / w2**1.5
    parallel = _SEMI_MAJOR_M / math.sqrt(w2) * math.cos(latitude)
    return float(meridian * parallel)
