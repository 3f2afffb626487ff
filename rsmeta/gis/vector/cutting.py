"""Cut lines at the borders of tiles, so that each tile can be worked on by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rsmeta.gis.vector.outlines import Lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.integer]

#: Side of a tile; its borders run through the middle of pixels. What GEOS takes to simplify lines
#: together grows with the square of their number.
TILE_PX = 128


class Cut(NamedTuple):
    """Lines in parts, each inside one tile, in the order of the lines.

    Attributes:
        parts: The parts.
        line: The line of each, (P,).
        tile: The tile of each, column and row, (P, 2).
    """

    parts: Lines
    line: Ints
    tile: Ints


def cut_at_tiles(lines: Lines) -> Cut:
    """Cut lines where they go from tile to tile."""
    points, start = lines
    line: Ints = np.repeat(np.arange(len(start) - 1), np.diff(start))
    for axis in (0, 1):
        points, line = _with_crossings(points, line, axis)
    inside = line[1:] == line[:-1]  # segments, and steps from line to line
    tile = np.floor(_in_tiles((points[1:] + points[:-1]) / 2)).astype(np.int64)
    first = np.flatnonzero(inside)  # first point of each segment
    fresh = np.ones(len(first), dtype=bool)  # whether a part starts with it
    before, now = first[:-1], first[1:]
    fresh[1:] = (line[before] != line[now]) | np.any(tile[before] != tile[now], axis=1)
    count = np.diff(np.append(np.flatnonzero(fresh), len(first)))
    begin = first[fresh]
    starts = np.concatenate([[0], np.cumsum(count + 1)])
    index = np.arange(starts[-1]) + np.repeat(begin - starts[:-1], count + 1)
    return Cut(Lines(points[index], starts), line[begin], tile[begin])


def joined(parts: Lines, line: Ints, count: int) -> Lines:
    """Put the parts of ``count`` lines together again."""
    points, start = parts
    kept = np.ones(len(points), dtype=bool)
    follows = np.flatnonzero(line[1:] == line[:-1]) + 1
    kept[start[follows]] = False  # the end of the part before
    of_point = np.repeat(line, np.diff(start))[kept]
    lengths = np.bincount(of_point, minlength=count)
    return Lines(points[kept], np.concatenate([[0], np.cumsum(lengths)]))


def along_borders(cut: Cut, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], Ints]:
    """Return segments between neighbouring ends of parts on the borders of tiles.

    Args:
        cut: The parts.
        rows: Further borders, at which strips end.

    Returns:
        The segments, (S, 2, 2), and the tile of each, (S, 2).
    """
    points, start = cut.parts
    ends = np.concatenate([points[start[:-1]], points[start[1:] - 1]])
    tile = np.concatenate([cut.tile, cut.tile])
    found = []
    for axis in (0, 1):
        on_border = _in_tiles(ends[:, axis]) % 1 == 0
        if axis == 1:
            on_border |= np.isin(ends[:, 1], rows)
        at, here = ends[on_border], tile[on_border]
        places = np.unique(np.column_stack([here, at[:, axis], at[:, 1 - axis]]), axis=0)
        same = np.all(places[1:, :3] == places[:-1, :3], axis=1)
        pair = np.stack([places[:-1][same, 2:], places[1:][same, 2:]], axis=1)
        found.append((pair if axis == 0 else pair[..., ::-1], places[1:][same, :2]))
    return (
        np.concatenate([pair for pair, _ in found]),
        np.concatenate([here for _, here in found]).astype(np.int64),
    )


def _in_tiles(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places in pixels as places in tiles, whose borders are whole numbers."""
    return (at + 0.5) / TILE_PX


def _with_crossings(
    points: NDArray[np.float64], line: Ints, axis: int
) -> tuple[NDArray[np.float64], Ints]:
    """Return lines with a point wherever a segment crosses a border of tiles along one axis."""
    at = _in_tiles(points[:, axis])
    low, high = np.minimum(at[1:], at[:-1]), np.maximum(at[1:], at[:-1])
    first = np.floor(low).astype(np.int64) + 1  # borders between, without the ends
    crossings = np.maximum(np.ceil(high).astype(np.int64) - first, 0)
    crossings[line[1:] != line[:-1]] = 0
    segment = np.repeat(np.arange(len(crossings)), crossings)
    nth = np.arange(len(segment)) - np.repeat(np.cumsum(crossings) - crossings, crossings)
    backwards = at[segment + 1] < at[segment]
    border = first[segment] + np.where(backwards, crossings[segment] - 1 - nth, nth)
    share = (border - at[segment]) / (at[segment + 1] - at[segment])
    fresh = points[segment] + (points[segment + 1] - points[segment]) * share[:, np.newaxis]
    fresh[:, axis] = border * TILE_PX - 0.5
    return np.insert(points, segment + 1, fresh, axis=0), np.insert(
        line, segment + 1, line[segment]
    )
