"""What makes a picture of a map readable: legend, scale bar, north arrow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from pyproj import CRS, Geod, Transformer

from rsmeta.geo.footprint import is_located
from rsmeta.geo.grid import apply
from rsmeta.geo.reprojection import places_onto_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from rsmeta.geo.grid import Grid

#: More classes than this are not listed in a legend.
MOST_LISTED = 39
# Share of the picture's width that a scale bar takes at most.
_BAR_SHARE = 0.3
_OUTLINE = [withStroke(linewidth=2.5, foreground="white")]


def class_legend(
    figure: Figure | SubFigure, classes: Sequence[tuple[str, str]], *, columns: int
) -> None:
    """List classes, name and colour as ``#rrggbb``, below a picture."""
    handles = [
        Patch(facecolor=colour, edgecolor="0.6", label=name)
        for name, colour in classes[:MOST_LISTED]
    ]
    if len(classes) > MOST_LISTED:
        rest = len(classes) - MOST_LISTED
        handles.append(Patch(facecolor="none", edgecolor="none", label=f"and {rest} more"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=max(1, min(columns, len(handles))),
        frameon=False, fontsize="small",
    )  # fmt: skip


def legend_height_in(classes: int, *, columns: int) -> float:
    """Return how high the legend of so many classes is, in inches."""
    return 0.2 * -(-min(classes, MOST_LISTED + 1) // columns) + 0.2


def ramp_legend(
    figure: Figure, axis: Axes, ramp: str, ends: tuple[float, float], label: str
) -> None:
    """Draw the colours of numbers below a picture."""
    shown = ScalarMappable(Normalize(*ends), ramp)
    figure.colorbar(shown, ax=axis, orientation="horizontal", label=label, shrink=0.8, aspect=30)


def place_marks(axis: Axes, grid: Grid) -> None:
    """Draw a scale bar and a north arrow over a picture of a whole grid; none without a CRS.

    Args:
        axis: Shows the grid's pixels, with limits in its pixels.
        grid: Where they lie.
    """
    if not is_located(grid):
        return
    width_m, angle_deg = ground_width_m(grid), north_deg(grid)
    if math.isfinite(width_m) and width_m > 0:
        _scale_bar(axis, width_m)
    if math.isfinite(angle_deg):
        _north_arrow(axis, angle_deg)


def _lonlat(grid: Grid, col: float, row: float) -> tuple[float, float]:
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*apply(grid.transform, col, row))
    return float(lon), float(lat)


def round_length(largest_m: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above a length."""
    power: float = 10.0 ** math.floor(math.log10(largest_m))
    return max(step * power for step in (1, 2, 5) if step * power <= largest_m * (1 + 1e-9))


def ground_width_m(grid: Grid) -> float:
    """Return how far apart the ends of the middle row are on the ellipsoid."""
    middle = grid.height_px / 2
    steps = [_lonlat(grid, grid.width_px * i / 8, middle) for i in range(9)]
    lons, lats = zip(*steps, strict=True)
    return float(_geod(grid).line_length(lons, lats))


def pixel_ratio(grid: Grid) -> float:
    """Return height over width of a pixel on the ground, at the centre.

    In degrees they are not the same, though the numbers may be.
    """
    width, height = grid.pixel_size
    if grid.crs is None or not (grid.crs.is_geographic and is_located(grid)):
        return height / width
    col, row = grid.width_px / 2, grid.height_px / 2
    (lon, lat), (east, _), (_, south) = (
        _lonlat(grid, col + right, row + down) for right, down in ((0, 0), (1, 0), (0, 1))
    )
    geod = _geod(grid)
    down_m = geod.line_length([lon, lon], [lat, south])
    across_m = geod.line_length([lon, east], [lat] * 2)
    ratio = down_m / across_m if across_m else math.nan
    return float(ratio) if math.isfinite(ratio) and ratio > 0 else height / width


def _geod(grid: Grid) -> Geod:
    crs = None if grid.crs is None else CRS.from_wkt(grid.crs.to_wkt())
    return (crs and crs.get_geod()) or Geod(ellps="WGS84")


def _scale_bar(axis: Axes, width_m: float) -> None:
    length_m = round_length(width_m * _BAR_SHARE)
    share = length_m / width_m
    label = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    left, bottom, height = 0.03, 0.03, 0.012
    for i, colour in enumerate(("black", "white")):
        axis.add_patch(
            Rectangle(
                (left + i * share / 2, bottom), share / 2, height, transform=axis.transAxes,
                facecolor=colour, edgecolor="black", linewidth=0.8, zorder=5,
            )
        )  # fmt: skip
    axis.text(
        left + share / 2, bottom + height + 0.008, label, transform=axis.transAxes, ha="center",
        va="bottom", fontsize="small", path_effects=_OUTLINE, zorder=5,
    )  # fmt: skip


def north_deg(grid: Grid) -> float:
    """Return the direction of true north at the centre, in degrees clockwise from up.

    It differs from 0 where the grid is turned, and by the convergence of the meridians. Pixels
    are taken to be drawn with the sides that they have on the ground.
    """
    col, row = grid.width_px / 2, grid.height_px / 2
    lon, lat = _lonlat(grid, col, row)
    step = 1e-4 if lat < 89 else -1e-4
    # As Python's own numbers: off the Earth they are not finite, of which numpy would warn.
    x, y = map(float, places_onto_grid(np.array([[lon, lat + step]]), "OGC:CRS84", grid)[0])
    to_col, to_row = apply(~grid.transform, x, y)
    turned = math.degrees(math.atan2(to_col - col, (row - to_row) * pixel_ratio(grid)))
    return turned if step > 0 else turned + 180


def _north_arrow(axis: Axes, angle_deg: float) -> None:
    angle = math.radians(angle_deg)
    head, length = (0.93, 0.88), 28.0  # share of the axes; points
    across, up = math.sin(angle), math.cos(angle)
    axis.annotate(
        "", xy=head, xycoords="axes fraction", xytext=(-length * across, -length * up),
        textcoords="offset points", zorder=5,
        arrowprops={
            "arrowstyle": "-|>,head_width=0.4,head_length=0.8", "color": "black", "lw": 1.8,
            "path_effects": _OUTLINE, "shrinkA": 0, "shrinkB": 0,
        },
    )  # fmt: skip
    axis.annotate(
        "N", xy=head, xycoords="axes fraction", xytext=(8 * across, 8 * up), va="center",
        textcoords="offset points", ha="center", fontweight="bold", path_effects=_OUTLINE,
        zorder=5,
    )  # fmt: skip
