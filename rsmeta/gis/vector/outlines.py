"""Trace where the regions of a strip meet, as lines that neighbours share.

A *corner* is a corner of pixels. Lines run along sides of pixels from node to node; a node is a
corner where more than two sides meet that part regions, or a corner of the map. A line that
closes on itself starts at its first corner. A strip is cut from its neighbours through the
middle of a row of pixels, so that only upright sides are cut.

Directions are 0 east, 1 south, 2 west, 3 north; rows count southwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rsmeta.gis.labelling import NO_REGION
from rsmeta.gis.vector.chains import break_cycles, in_order, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rsmeta.gis.vector.chains import Chains

    Ints = NDArray[np.integer]

_SOUTH, _NORTH = 1, 3


def _other_side() -> NDArray[np.int8]:
    """Return, by sides of a corner (bits) and direction of arrival, where a mere bend goes on.

    -1 where other than two sides meet.
    """
    table = np.full((16, 4), -1, dtype=np.int8)
    for first in range(4):
        for second in range(first):
            code = 1 << first | 1 << second
            table[code, (first + 2) % 4] = second
            table[code, (second + 2) % 4] = first
    return table


_OTHER_SIDE = _other_side()


class Lines(NamedTuple):
    """Lines of one strip; each parts two regions.

    Attributes:
        points: Column and row of their bends, in pixels of the map, (P, 2) float64.
        start: Place in ``points`` of each line's first point, and P at the end, (L + 1,).
    """

    points: NDArray[np.float64]
    start: Ints


class Pieces(NamedTuple):
    """Pieces of outlines: lines as one of their two regions goes along them, on its left.

    Attributes:
        line: Which line, (S,).
        backwards: Whether it is followed from its end to its start, (S,).
        region: The region, (S,).
        key: Names the piece all over the map, (S,) int64; odd if it starts where strips are cut.
        next_key: The piece with which the outline goes on, (S,) int64.
        area_px: Share in the area inside the outline, which is negative for holes, (S,).
    """

    line: Ints
    backwards: NDArray[np.bool_]
    region: Ints
    key: Ints
    next_key: Ints
    area_px: Ints


@dataclass(frozen=True)
class _Sides:
    """Sides of pixels that part regions, each in both directions (D directed sides).

    Attributes:
        labels: Regions of the pixel rows, with ``NO_REGION`` left and right, (n + 1, W + 2).
        top: Row of the map of the first pixels.
        corner: Place of each side's first corner in the rows of corners, cuts included, (D,).
        direction: (D,).
        number: Side that leaves a corner in a direction, -1: none, (corners with sides, 4).
        place: Row of ``number`` for each corner of the strip, (n + 2) * (W + 1).
        code: Sides of each corner as bits, likewise.
    """

    labels: Ints
    top: int
    corner: Ints
    direction: NDArray[np.int8]
    number: Ints
    place: Ints
    code: NDArray[np.uint8]

    @property
    def width(self) -> int:
        """Corners in a row."""
        return int(self.labels.shape[1]) - 1

    def end(self, sides: Ints) -> Ints:
        """Return the corners at which sides end."""
        step = np.array([1, self.width, -1, -self.width])
        ends: Ints = self.corner[sides] + step[self.direction[sides]]
        return ends

    def leaving(self, corners: Ints, directions: Ints) -> Ints:
        """Return the sides that leave corners in directions, which are there."""
        sides: Ints = self.number[self.place[corners], directions]
        return sides

    def reverse(self, sides: Ints) -> Ints:
        """Return the same sides the other way round."""
        return self.leaving(self.end(sides), (self.direction[sides] + 2) % 4)

    def label_around(self, corners: Ints, quarter: Ints) -> Ints:
        """Return the region of a pixel at a corner: 0 north-west, 1 north-east, 2, 3 clockwise."""
        row, col = np.divmod(corners, self.width)
        south, east = quarter >= 2, (quarter == 1) | (quarter == 2)
        around: Ints = self.labels[row - 1 + south, col + east]
        return around

    def left(self, sides: Ints) -> Ints:
        """Return the region on the left of sides."""
        return self.label_around(self.corner[sides], (self.direction[sides] + 1) % 4)

    def points(self, corners: Ints) -> NDArray[np.float64]:
        """Return column and row of corners in the map, (N, 2); cuts lie between rows."""
        row, col = np.divmod(corners, self.width)
        last = self.labels.shape[0]  # the row of corners on the lower cut
        cut = np.where(row == 0, 0.5, np.where(row == last, -0.5, 0.0))
        return np.stack([col, self.top + row + cut], axis=1).astype(np.float64)

    def names(self, sides: Ints) -> Ints:
        """Return even numbers that name directed sides all over the map, whole ones."""
        names: Ints = (
            (self.corner[sides].astype(np.int64) + self.top * self.width + self.width) * 4
            + self.direction[sides]
        ) * 2
        return names

    def is_cut(self, corners: Ints) -> NDArray[np.bool_]:
        """Return whether corners are no corners but cuts through a side."""
        rows = corners // self.width
        cut: NDArray[np.bool_] = (rows == 0) | (rows == self.labels.shape[0])
        return cut


def trace(labels: Ints, top: int, height: int) -> tuple[Lines, Pieces]:
    """Trace the lines of one strip.

    Args:
        labels: Regions of its pixel rows, the last of which is the first of the next strip,
            (n + 1, W); ``NO_REGION`` where there is none, and all along a row outside the map.
        top: Row of the map of its first pixels.
        height: Rows of the map.

    Returns:
        The lines, and each from the sides of its two regions.
    """
    sides = _find_sides(labels, top)
    everything = np.arange(len(sides.corner))
    ends = sides.end(everything)
    onwards = _OTHER_SIDE[sides.code[ends], sides.direction]
    following = np.where(onwards < 0, -1, sides.leaving(ends, np.maximum(onwards, 0)))
    parted = np.where(_is_map_corner(sides, ends, height), -1, following)
    chains = in_order(break_cycles(parted))
    tails = chains.tails
    twin = chains.chain_of[sides.reverse(tails)]  # the same line the other way round
    own = np.arange(len(tails))
    kept = np.flatnonzero(own < twin)
    line = np.empty(len(tails), dtype=np.int64)
    line[kept] = line[twin[kept]] = np.arange(len(kept))
    inside = sides.left(chains.heads)
    shown = np.flatnonzero(inside != NO_REGION)
    pieces = Pieces(
        line=line[shown], backwards=(own > twin)[shown], region=inside[shown],
        key=_keys(sides, chains)[shown], next_key=_next_keys(sides, chains, following)[shown],
        area_px=_areas(sides, chains)[shown],
    )  # fmt: skip
    return _lines(sides, chains, kept), pieces


def _is_map_corner(sides: _Sides, corners: Ints, height: int) -> NDArray[np.bool_]:
    """Return whether corners are those of the map, where lines end so that its frame stays."""
    row, col = np.divmod(corners, sides.width)
    at_end = np.isin(row + sides.top, (0, height)) & np.isin(col, (0, sides.width - 1))
    is_corner: NDArray[np.bool_] = at_end & ~sides.is_cut(corners)
    return is_corner


def _find_sides(inner: Ints, top: int) -> _Sides:
    labels = np.pad(inner, ((0, 0), (1, 1)), constant_values=NO_REGION)
    level = labels[1:] != labels[:-1]  # sides that run east and west, (n, W + 2)
    upright = labels[:, 1:] != labels[:, :-1]  # (n + 1, W + 1)
    code = np.zeros((labels.shape[0] + 1, labels.shape[1] - 1), dtype=np.uint8)
    code[1:-1] = level[:, 1:] + level[:, :-1] * np.uint8(4)
    code[:-1] += upright * np.uint8(1 << _SOUTH)
    code[1:] += upright * np.uint8(1 << _NORTH)
    code = code.ravel()
    corners = np.flatnonzero(code)
    place = np.zeros(len(code), dtype=np.int32)
    place[corners] = np.arange(len(corners))
    there = (code[corners][:, np.newaxis] >> np.arange(4, dtype=np.uint8) & 1).astype(bool)
    number = np.full(there.shape, -1, dtype=np.int64)
    number[there] = np.arange(np.count_nonzero(there))
    at, direction = np.nonzero(there)
    return _Sides(labels, top, corners[at], direction.astype(np.int8), number, place, code)


def _keys(sides: _Sides, chains: Chains) -> Ints:
    """Name chains by their first side; below a cut it is the second half of that of above."""
    heads = chains.heads
    cut = sides.is_cut(sides.corner[heads])
    names = sides.names(heads)
    keys: Ints = names + cut  # the corner beyond the cut is where the row of cuts is
    return keys


def _next_keys(sides: _Sides, chains: Chains, following: Ints) -> Ints:
    """Return with which piece the outline of the region on the left goes on."""
    tails = chains.tails
    ends = sides.end(tails)
    keys = sides.names(tails) + 1  # across a cut: the other half of the same side
    bend = following[tails] >= 0  # a line that was closed, or a corner of the map
    keys[bend] = sides.names(following[tails[bend]])
    node = ~bend & ~sides.is_cut(ends)
    came = sides.direction[tails[node]].astype(np.int64)
    around = [sides.label_around(ends[node], (came + k) % 4) for k in range(3)]
    behind, left, right = around
    # Where only a corner joins two pixels of one region its outline stays on the outer side, so
    # that a hole touches the outline and the outline not itself.
    turn = np.where(left == behind, 0, np.where(right == behind, 1, 3))
    keys[node] = sides.names(sides.leaving(ends[node], (came + turn) % 4))
    return keys


def _areas(sides: _Sides, chains: Chains) -> Ints:
    """Return the area between each chain and the top of the map, in pixels."""
    ordered = chains.order
    row = sides.top + sides.corner[ordered] // sides.width
    share = np.array([1, 0, -1, 0])[sides.direction[ordered]] * row
    areas: Ints = np.add.reduceat(share, chains.start[:-1]) if len(ordered) else share
    return areas


def _lines(sides: _Sides, chains: Chains, kept: Ints) -> Lines:
    """Return the bends of some chains, their ends included."""
    length = chains.start[kept + 1] - chains.start[kept]
    links = chains.order[spans(chains.start[kept], length)]
    first = np.concatenate([[0], np.cumsum(length)])
    bends = np.ones(len(links), dtype=bool)
    bends[1:] = sides.direction[links[1:]] != sides.direction[links[:-1]]
    bends[first[:-1]] = True
    count = np.add.reduceat(bends, first[:-1], dtype=np.int64) if len(kept) else length
    start = np.concatenate([[0], np.cumsum(count + 1)])
    points = np.empty((start[-1], 2))
    is_end = np.zeros(start[-1], dtype=bool)
    is_end[start[1:] - 1] = True
    points[~is_end] = sides.points(sides.corner[links[bends]])
    points[is_end] = sides.points(sides.end(chains.tails[kept]))
    return Lines(points, start)
