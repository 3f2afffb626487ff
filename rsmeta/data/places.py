"""Which scenes show one place, so that they are divided alike or kept in one part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from rsmeta.geo.footprint import footprint, outline
from rsmeta.geo.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Edges that lie so near each other are shared.
_MARGIN_PX = 0.25


def same_place(grids: Sequence[Grid], *, touching: bool = True) -> list[list[int]]:
    """Group grids of one place, directly or through others; in the order of their first.

    Args:
        grids: The grids.
        touching: Grids that share no more than an edge, or that have no georeferencing, are of
            one place too, since they may be; else only grids that are known to share pixels.
    """
    shapes = [_resized(grid, _MARGIN_PX if touching else -_MARGIN_PX) for grid in grids]
    known = [footprint(grid) for grid in shapes]
    areas = [outline(g) if k is None else k for g, k in zip(shapes, known, strict=True)]

    def of_one_place(i: int, j: int) -> bool:
        if known[i] is None or known[j] is None:
            nowhere = grids[i].crs is None and grids[i].transform.is_identity
            if grids[i].crs != grids[j].crs or (nowhere and not touching):
                return False
        return bool(areas[i].intersects(areas[j]))

    groups: list[list[int]] = []
    for i in range(len(grids)):
        met = [group for group in groups if any(of_one_place(i, j) for j in group)]
        groups = [group for group in groups if group not in met]
        groups.append(sorted([i, *(j for group in met for j in group)]))
    return sorted(groups)


def _resized(grid: Grid, margin_px: float) -> Grid:
    """Return a grid of the same shape whose edges lie further out, in pixels."""
    t, (height, width) = grid.transform, grid.shape
    across, down = (width + 2 * margin_px) / width, (height + 2 * margin_px) / height
    x, y = grid.xy(np.array(-margin_px), np.array(-margin_px))
    resized = Affine(t.a * across, t.b * down, float(x), t.d * across, t.e * down, float(y))
    return Grid(grid.crs, resized, height, width)
