"""Join pieces of outlines, strip after strip, to the polygons of finished regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely

from rsmeta.gis.vector.chains import break_cycles, in_order, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rsmeta.gis.vector.outlines import Lines, Pieces

    Ints = NDArray[np.integer]


class _Waiting(NamedTuple):
    """Pieces with their own points.

    Attributes:
        region: (S,).
        key: (S,).
        next_key: (S,).
        area_px: (S,).
        length: Points of each piece, without its last one, (S,).
        points: (sum of lengths, 2) float32, which holds eighths of pixels up to column 2**21.
    """

    region: Ints
    key: Ints
    next_key: Ints
    area_px: Ints
    length: Ints
    points: NDArray[np.float32]

    def take(self, chosen: Ints) -> _Waiting:
        """Return some of the pieces, in the order given."""
        start = np.cumsum(self.length) - self.length
        length = self.length[chosen]
        return _Waiting(
            self.region[chosen], self.key[chosen], self.next_key[chosen], self.area_px[chosen],
            length, self.points[spans(start[chosen], length)],
        )  # fmt: skip


class Outlines:
    """Pieces of regions that are not finished.

    Args:
        keep_cuts: Keep the points at which strips were cut; they lie within straight sides unless
            lines were simplified.
    """

    def __init__(self, *, keep_cuts: bool) -> None:
        self._keep_cuts = keep_cuts
        self._waiting: list[_Waiting] = []

    def add(self, lines: Lines, pieces: Pieces) -> None:
        """Take the pieces of one strip."""
        start = lines.start[pieces.line]
        length = lines.start[pieces.line + 1] - start
        # Both ways leave out the last point: the first one of the piece that follows.
        forth = spans(start, length - 1)
        back = np.repeat(2 * start + length - 1, length - 1) - forth
        index = np.where(np.repeat(pieces.backwards, length - 1), back, forth)
        self._waiting.append(
            _Waiting(
                pieces.region, pieces.key, pieces.next_key, pieces.area_px, length - 1,
                lines.points[index].astype(np.float32),
            )
        )  # fmt: skip

    def finish(self, is_finished: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.object_]]:
        """Return the regions that have no further piece, and give up their pieces.

        Args:
            is_finished: By region.

        Returns:
            The regions, in order, and their polygons in columns and rows of the map.
        """
        ready, left = [], []
        for waiting in self._waiting:
            done = is_finished[waiting.region]
            if done.any():
                ready.append(waiting.take(np.flatnonzero(done)))
                waiting = waiting.take(np.flatnonzero(~done))
            if len(waiting.region):
                left.append(waiting)
        self._waiting = left
        if not ready:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=object)
        return self._polygons(_Waiting(*map(np.concatenate, zip(*ready, strict=True))))

    def _polygons(self, pieces: _Waiting) -> tuple[Ints, NDArray[np.object_]]:
        by_key = np.argsort(pieces.key)
        following = by_key[np.searchsorted(pieces.key, pieces.next_key, sorter=by_key)]
        rings = in_order(break_cycles(following))
        ordered = pieces.take(rings.order)
        ring = np.repeat(rings.chain_of[rings.order], ordered.length)
        points = ordered.points.astype(np.float64)
        if not self._keep_cuts:
            kept = np.ones(len(points), dtype=bool)
            first = np.cumsum(ordered.length) - ordered.length
            kept[first[ordered.key % 2 == 1]] = False
            ring, points = ring[kept], points[kept]
        lines = shapely.linearrings(points, indices=ring)
        region = pieces.region[rings.heads]
        area_px = np.add.reduceat(ordered.area_px, rings.start[:-1])
        return _with_holes(lines, region, area_px > 0)


def _with_holes(
    rings: NDArray[np.object_], region: Ints, is_shell: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.object_]]:
    """Make one polygon of the rings of each region: one around it, any number in it."""
    order = np.lexsort((~is_shell, region))  # the shell of each region first
    regions, index = np.unique(region[order], return_inverse=True)
    polygons: NDArray[np.object_] = shapely.polygons(rings[order], indices=index)
    return regions, polygons
