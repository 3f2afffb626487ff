"""The layers of the page's viewer: map, imagery and confidence, thinned to a bounded size."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from rsmeta.errors import GridMismatchError
from rsmeta.geo.grid import Grid
from rsmeta.geo.handles import open_quietly, open_raster, reading
from rsmeta.geo.render import rgb_bands, stretch_rgb
from rsmeta.geo.warp import warped
from rsmeta.gis.quantity_map import QuantityMap

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.geo.scene import Scene
    from rsmeta.gis.class_map import ClassMap

#: Longest side of a layer in pixels; larger rasters are read through their overviews.
LONGEST_PX = 2000

#: Index of a pixel without class, and of one without confidence.
NONE_16, NONE_8 = 65535, 255

#: Steps of confidence: finer ones would only add noise and size.
_STEPS = 100

#: Steps of numbers, between the ends of their histogram.
NUMBER_STEPS = 1000


@dataclass(frozen=True)
class Layers:
    """What the viewer draws, each layer on the same thinned grid.

    Attributes:
        grid: The thinned grid; a pixel of it stands for ``step`` by ``step`` of the map.
        step: See ``grid``.
        cells: Class indices, or of numbers steps between the ends of their span, from 0 to
            ``NUMBER_STEPS``; (h, w) uint16, ``NONE_16`` where none.
        numbers: Whether they are steps.
        confidence: Percent, (h, w) uint8, ``NONE_8`` where unknown; none without such a raster.
        imagery: The scene in colour, (h, w, 3) uint8; none without a scene.
        seen: Where it has data, (h, w) bool; none likewise.
    """

    grid: Grid
    step: int
    cells: np.ndarray
    numbers: bool = False
    confidence: np.ndarray | None = None
    imagery: np.ndarray | None = None
    seen: np.ndarray | None = None

    def packed(self) -> dict[str, Any]:
        """Return the layers as text that a page can hold."""
        known = self.cells[self.cells != NONE_16]
        small = not self.numbers and (not known.size or int(known.max()) < NONE_8)
        cells = np.where(self.cells == NONE_16, NONE_8, self.cells) if small else self.cells
        if self.numbers:  # differences along rows, modulo 2^16: neighbours are alike
            cells = np.diff(cells, axis=1, prepend=np.uint16(0))
        return {
            "width": self.grid.width_px,
            "height": self.grid.height_px,
            "bytes": 1 if small else 2,
            "cells": _deflated(cells.astype("<u1" if small else "<u2")),
            "confidence": None if self.confidence is None else _deflated(self.confidence),
            "imagery": None if self.imagery is None else _jpeg(self.imagery),
            "seen": None if self.seen is None else _deflated(self.seen.astype(np.uint8)),
        }


def read_layers(
    shown: ClassMap | QuantityMap,
    span: tuple[float, float] | None = None,
    *,
    scene: Scene | None = None,
    confidence: Path | None = None,
) -> Layers:
    """Read a map, and what belongs to it, thinned to ``LONGEST_PX``.

    Args:
        shown: The map.
        span: Of a map of numbers, those that get the first and the last step.
        scene: The imagery below it, on any grid.
        confidence: Raster of the largest probability, on the map's grid.

    Raises:
        SceneError: A raster cannot be read.
        GridMismatchError: Confidence lies on another grid, or imagery has no place on the map's.
    """
    step = max(1, -(-max(shown.grid.shape) // LONGEST_PX))
    grid = thinned(shown.grid, step)
    numbers = isinstance(shown, QuantityMap)
    cells = _steps(shown, grid, span) if isinstance(shown, QuantityMap) else _classes(shown, grid)
    imagery, seen = (None, None) if scene is None else read_imagery(scene, shown.grid, grid)
    sure = None if confidence is None else _confidence(confidence, shown.grid, grid)
    return Layers(grid, step, cells, numbers, sure, imagery, seen)


def _classes(class_map: ClassMap, grid: Grid) -> np.ndarray:
    with reading(class_map.path):
        values = open_raster(class_map.path).read(1, out_shape=grid.shape)
    indices = class_map.to_indices(values)
    return np.where(indices < 0, np.uint16(NONE_16), indices.astype(np.uint16))


def _steps(quantity: QuantityMap, grid: Grid, span: tuple[float, float] | None) -> np.ndarray:
    if span is None:
        raise ValueError("numbers need a span to be divided into steps")
    numbers = quantity.read(quantity.grid.full_window, grid.shape)
    known = np.isfinite(numbers)
    share = (np.where(known, numbers, span[0]) - span[0]) / (span[1] - span[0])
    steps = (np.clip(share, 0, 1) * NUMBER_STEPS).round()
    return np.where(known, steps, NONE_16).astype(np.uint16)


def thinned(grid: Grid, step: int) -> Grid:
    """Return the grid of a raster's rows and columns in whole steps, over the same extent."""
    height, width = (-(-side // step) for side in grid.shape)
    t = grid.transform
    across, down = grid.width_px / width, grid.height_px / height
    return Grid(
        grid.crs, Affine(t.a * across, t.b * down, t.c, t.d * across, t.e * down, t.f),
        height, width,
    )  # fmt: skip


def read_imagery(scene: Scene, full: Grid, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the scene in colour on a thinned grid, and where it has data."""
    shown = [scene.bands[i] for i in rgb_bands(scene.bands)]
    picked = scene.select(list(dict.fromkeys(shown)))
    dataset = open_raster(scene.source)
    indexes = list(picked.band_indexes)
    with reading(scene.source):
        if scene.grid == full:
            raw = dataset.read(indexes, out_shape=(len(indexes), *grid.shape))
            inside = np.ones(grid.shape, dtype=bool)
        elif scene.grid.crs is None or grid.crs is None:
            raise GridMismatchError(
                f"{scene.name} lies on another grid than the map, and one of them has no CRS; "
                f"give the scene that was mapped"
            )
        else:
            with warped(dataset, grid, resampling=Resampling.nearest, add_alpha=True) as there:
                raw = there.read(indexes)
                inside = there.read(there.count) > 0
    seen = inside & np.isfinite(raw).all(axis=0)
    for band, values in zip(raw, picked.nodata, strict=True):
        seen &= ~np.isin(band, values)
    places = [picked.bands.index(band) for band in shown]
    picture = stretch_rgb(raw[places].astype(np.float32), seen, shown)
    return picture, seen


def _confidence(path: Path, full: Grid, grid: Grid) -> np.ndarray:
    """Return percent, (h, w) uint8, ``NONE_8`` where unknown."""
    dataset = open_raster(str(path))
    own = Grid(dataset.crs or None, dataset.transform, dataset.height, dataset.width)
    if own.shape != full.shape or own.shift_px(full) != (0, 0):
        raise GridMismatchError(
            f"{path} lies on another grid than the map; give its own confidence"
        )
    with reading(path.name):
        raw = dataset.read(1, out_shape=grid.shape).astype(np.float32)
    unknown = ~np.isfinite(raw)
    if dataset.nodata is not None:
        unknown |= raw == dataset.nodata
    share = raw * dataset.scales[0] + dataset.offsets[0]
    percent = np.clip(np.where(unknown, 0, share) * _STEPS, 0, _STEPS).round()
    return np.where(unknown, NONE_8, percent).astype(np.uint8)


def _deflated(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()


def _jpeg(picture: np.ndarray) -> str:
    height, width, _ = picture.shape
    with MemoryFile(ext=".jpg") as memory:
        with open_quietly(
            memory.name, "w", driver="JPEG", width=width, height=height, count=3, dtype="uint8",
            quality=85,
        ) as file:  # fmt: skip
            file.write(np.moveaxis(picture, 2, 0))
        return "data:image/jpeg;base64," + base64.b64encode(memory.read()).decode()
