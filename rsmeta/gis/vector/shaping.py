"""Smooth and simplify the lines that regions share: what both sides see stays without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

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

    Lines are simplified together: none comes to cross or to skip another one.

    Args:
        lines: Lines that meet at their ends only.
        tolerance_px: How far a line may move, in pixels.
        cuts: Rows at which this strip is cut from others, which no line comes to lie on.

    Source: Douglas and Peucker 1973, bounded by topology as GEOS has it.
    """
    count = len(lines.start) - 1
    if count == 0:
        return lines
    points, start = _with_middles(lines)
    index = np.repeat(np.arange(count), np.diff(start))
    closed = np.all(points[start[:-1]] == points[start[1:] - 1], axis=1)
    shapes = np.empty(count, dtype=object)
    ring = closed[index]
    shapes[closed] = shapely.linearrings(points[ring], indices=_renumbered(index[ring]))
    shapes[~closed] = shapely.linestrings(points[~ring], indices=_renumbered(index[~ring]))
    fixed = [_between_ends(lines, row) for row in cuts]
    whole = shapely.geometrycollections(np.concatenate([shapes, *fixed]))
    parts = shapely.get_parts(shapely.simplify(whole, tolerance_px, preserve_topology=True))
    simple, index = shapely.get_coordinates(parts[:count], return_index=True)
    counts = np.bincount(index, minlength=count)
    return Lines(simple, np.concatenate([[0], np.cumsum(counts)]))


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


def _between_ends(lines: Lines, row: float) -> NDArray[np.object_]:
    """Return segments between neighbouring ends of lines on a cut; they stop lines from it."""
    ends = np.concatenate([lines.points[lines.start[:-1]], lines.points[lines.start[1:] - 1]])
    cols = np.unique(ends[ends[:, 1] == row, 0])
    rows = np.full(len(cols), row)
    here = np.stack([cols, rows], axis=1)
    segments: NDArray[np.object_] = shapely.linestrings(np.stack([here[:-1], here[1:]], axis=1))
    return segments
