"""Smooth and simplify the lines that regions share: what both sides see stays without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from rsmeta.gis.vector.cutting import along_borders, cut_at_tiles, joined
from rsmeta.gis.vector.outlines import Lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How far from a bend its corner is cut off, in pixels: two lines that bend within one pixel
#: then meet at most in the middle of a side, where they are the same line.
_CUTS_PX = (0.5, 0.25)


def smooth(lines: Lines) -> Lines:
    """Cut off the corners of lines: stairs become slopes; ends stay.

    Corners are cut within one pixel, and again half as far, so that no line meets another one.

    Source: Chaikin 1974, "An algorithm for high-speed curve generation", with a bound.
    """
    for cut_px in _CUTS_PX:
        lines = _cut_corners(lines, cut_px)
    return lines


def _cut_corners(lines: Lines, cut_px: float) -> Lines:
    points, start = lines
    is_end = np.zeros(len(points), dtype=bool)
    is_end[start[:-1]] = is_end[start[1:] - 1] = True
    bends = np.flatnonzero(~is_end)
    twice = np.repeat(np.arange(len(points)), np.where(is_end, 1, 2))
    cut = points[twice]
    place = np.arange(len(points)) + np.cumsum(~is_end) - ~is_end  # of each point's first copy
    for copy, other in ((0, -1), (1, 1)):
        way = points[bends + other] - points[bends]
        length = np.linalg.norm(way, axis=1, keepdims=True)
        # Half of a side at most: the next bend takes the other half.
        share = np.minimum(cut_px, length / 2) / length
        share[is_end[bends + other] & (length[:, 0] <= cut_px)] = 1.0
        cut[place[bends] + copy] = points[bends] + way * share
    line = np.repeat(np.arange(len(start) - 1), np.diff(start))[twice]
    fresh = np.ones(len(cut), dtype=bool)
    fresh[1:] = np.any(cut[1:] != cut[:-1], axis=1) | (line[1:] != line[:-1])
    counts = np.bincount(line[fresh], minlength=len(start) - 1)
    return Lines(cut[fresh], np.concatenate([[0], np.cumsum(counts)]))


def simplify(lines: Lines, tolerance_px: float, cuts: NDArray[np.float64]) -> Lines:
    """Leave out points so that no line moves by more than a tolerance; ends stay.

    Lines are simplified together, tile by tile: none comes to cross or to skip another one. Where
    they go from tile to tile they stay where they are.

    Args:
        lines: Lines that meet at their ends only.
        tolerance_px: How far a line may move, in pixels.
        cuts: Rows at which this strip is cut from others.

    Source: Douglas and Peucker 1973, bounded by topology as GEOS has it.
    """
    count = len(lines.start) - 1
    if count == 0:
        return lines
    cut = cut_at_tiles(lines)
    borders, border_tile = along_borders(cut, cuts)  # no line comes to lie on a border
    shapes = np.concatenate([_shapes(_with_middles(cut.parts)), shapely.linestrings(borders)])
    tile = np.concatenate([cut.tile, border_tile])
    order = np.lexsort((tile[:, 0], tile[:, 1]))
    _, index = np.unique(tile[order][:, ::-1], axis=0, return_inverse=True)
    tiles = shapely.geometrycollections(shapes[order], indices=index.ravel())
    simple = np.empty(len(shapes), dtype=object)
    simple[order] = shapely.get_parts(shapely.simplify(tiles, tolerance_px, preserve_topology=True))
    points, part = shapely.get_coordinates(simple[: len(cut.line)], return_index=True)
    lengths = np.bincount(part, minlength=len(cut.line))
    parts = Lines(points, np.concatenate([[0], np.cumsum(lengths)]))
    return joined(parts, cut.line, count)


def _shapes(lines: Lines) -> NDArray[np.object_]:
    """Return lines as rings where they are closed, and as lines elsewhere."""
    points, start = lines
    index = np.repeat(np.arange(len(start) - 1), np.diff(start))
    closed = np.all(points[start[:-1]] == points[start[1:] - 1], axis=1)
    shapes = np.empty(len(closed), dtype=object)
    ring = closed[index]
    shapes[closed] = shapely.linearrings(points[ring], indices=_renumbered(index[ring]))
    shapes[~closed] = shapely.linestrings(points[~ring], indices=_renumbered(index[~ring]))
    return shapes


def _with_middles(lines: Lines) -> Lines:
    """Return lines, the straight ones among them with a point in the middle.

    GEOS sees by the second point of a line whether another line comes to skip it, and would not
    see so where that is an end which both lines share.
    """
    points, start = lines
    straight = start[:-1][np.diff(start) == 2]
    middles = (points[straight] + points[straight + 1]) / 2
    more = np.concatenate([[0], np.cumsum(np.diff(start) == 2)])
    return Lines(np.insert(points, straight + 1, middles, axis=0), start + more)


def _renumbered(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return sorted numbers without those that are missing."""
    steps: NDArray[np.int64] = np.cumsum(np.diff(index, prepend=index[:1]) > 0)
    return steps
