"""Draw the points at which to check a map: a stratified random sample of its pixels.

The classes of the map are the strata. Within a class a pixel is drawn by chance in proportion to
its area, so that a map in degrees is sampled evenly too; no pixel is drawn twice.

Source: Olofsson et al. 2014, section 5.1 (allocation); Efraimidis & Spirakis 2006, "Weighted random
sampling with a reservoir" (drawing in one pass).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas
import numpy as np

from rsmeta.geo.grid import whole_pixels
from rsmeta.geo.pixel_area import pixel_areas_m2
from rsmeta.gis.vector.frames import write_frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.geo.grid import Grid
    from rsmeta.gis.class_map import ClassMap, Cover

#: Samples that a rare class gets, if there are as many; the source advises 50 to 100.
LEAST = 50


@dataclass(frozen=True)
class Drawn:
    """Pixels that were drawn, in random order.

    Attributes:
        cols: Their columns, (N,) int64.
        rows: Their rows, (N,) int64.
        by_class: How many lie in each class of the map, (K,).
    """

    cols: np.ndarray
    rows: np.ndarray
    by_class: tuple[int, ...]


def allocate(cover: Cover, count: int) -> tuple[int, ...]:
    """Return how many samples each class gets, (K,).

    Each class that is mapped gets ``LEAST``, or an equal share where that is less; the rest goes
    by area. No class gets more than it has pixels.

    Args:
        cover: What the classes cover.
        count: Samples in all.
    """
    pixels = np.array(cover.pixels)
    weights = np.array(cover.areas_m2 or cover.pixels, dtype=np.float64)
    present = int((pixels > 0).sum())
    least = np.minimum(pixels, min(LEAST, count // max(present, 1)))
    chosen = least.copy()
    while (rest := count - int(chosen.sum())) > 0 and (room := chosen < pixels).any():
        ideal = np.where(room, weights, 0.0) / weights[room].sum() * rest
        more = np.minimum(np.floor(ideal).astype(np.int64), pixels - chosen)
        if not more.any():  # a few are left: to those whose share is cut most
            order = np.argsort(-(ideal - more), kind="stable")
            more[[k for k in order if room[k]][:rest]] = 1
        chosen += more
    return tuple(int(n) for n in chosen)


def draw(class_map: ClassMap, counts: Sequence[int], *, seed: int) -> Drawn:
    """Draw pixels of each class; goes through the map once, in windows.

    Args:
        class_map: The map.
        counts: How many of each class, (K,).
        seed: The same gives the same pixels of the same map.
    """
    generator = np.random.default_rng(seed)
    kept: list[_Reservoir] = [_Reservoir(n) for n in counts]
    for window in class_map.windows():
        row, col, height, width = whole_pixels(window)
        indices = class_map.read(window)
        areas = pixel_areas_m2(class_map.grid.crop(window))
        weights = np.ones((1, 1)) if areas is None else areas
        keys = generator.standard_exponential((height, width), dtype=np.float32)
        keys /= weights.astype(np.float32)
        for k, reservoir in enumerate(kept):
            rows, cols = np.nonzero((indices == k) & (keys < reservoir.bar))
            reservoir.add(keys[rows, cols], rows + row, cols + col)
    rows, cols = (np.concatenate(found) for found in zip(*(r.places for r in kept), strict=True))
    order = generator.permutation(len(rows))
    return Drawn(cols[order], rows[order], tuple(len(r.places[0]) for r in kept))


class _Reservoir:
    """Keeps the places with the smallest keys."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._keys = np.empty(0, dtype=np.float32)
        self.places = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

    @property
    def bar(self) -> float:
        """Key that a place must stay below to be kept."""
        if not self._count:
            return -1.0
        full = len(self._keys) == self._count
        return float(self._keys.max()) if full else float("inf")

    def add(self, keys: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> None:
        """Take up places, and let go of those whose keys are too large now."""
        if not len(keys) or not self._count:
            return
        keys = np.concatenate([self._keys, keys])
        order = np.argsort(keys, kind="stable")[: self._count]
        self._keys = keys[order]
        both = zip(self.places, (rows, cols), strict=True)
        old_rows, old_cols = (np.concatenate(pair)[order] for pair in both)
        self.places = old_rows, old_cols


def write_points(path: Path, grid: Grid, drawn: Drawn) -> None:
    """Write the centres of drawn pixels, in the CRS of the map, with an empty column ``class``.

    Raises:
        OutputError: The file cannot be written.
    """
    x, y = grid.xy(drawn.cols + 0.5, drawn.rows + 0.5)
    crs = None if grid.crs is None else grid.crs.to_wkt()
    columns = {"id": np.arange(1, len(x) + 1), "class": np.full(len(x), None, dtype=object)}
    frame = geopandas.GeoDataFrame(columns, geometry=geopandas.points_from_xy(x, y), crs=crs)
    write_frame(path, frame, layer="sample")
