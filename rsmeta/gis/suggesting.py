"""Choose the places whose labels would teach a model most: uncertain ones that differ.

The most uncertain patches of a map are often neighbours that show the same thing. Therefore they
are grouped by what the scene shows there, and each group gives its most uncertain one.

Source: Citovsky et al. 2021, "Batch Active Learning at Scale" (most uncertain first, then one of
each cluster); Prabhu et al. 2021, "Active Domain Adaptation via Clustering Uncertainty-weighted
Embeddings" (clusters weighted by uncertainty).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import shapely
from rasterio.features import geometry_mask
from sklearn.cluster import KMeans

from rsmeta.errors import GridMismatchError
from rsmeta.geo.grid import whole_pixels
from rsmeta.gis.class_map import STEP_PX
from rsmeta.gis.vector.frames import write_frame
from rsmeta.gis.vector.style import outlines_qml, outlines_sld

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rasterio.windows import Window

    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.quantity_map import QuantityMap

#: Side of a patch in pixels: the largest, and the smallest on small maps.
LARGEST_PX = 32
SMALLEST_PX = 4
#: Patches that a map is divided into at least for each place, where it is large enough.
_PATCHES_EACH = 10
#: Patches kept for each place while a map is read; neighbours of more uncertain ones go then.
_KEPT_EACH = 40
_NEAR = (-1, 0, 1)
#: Layer of the file.
_LAYER = "places"
#: Share of a patch that must be mapped.
_LEAST_MAPPED = 0.5


@dataclass(frozen=True)
class Patches:
    """Square patches of a map, N in number, the most uncertain first.

    Attributes:
        rows: Their first rows in pixels, (N,).
        cols: Their first columns, (N,).
        uncertainty: Mean over their mapped pixels, 0 to 1, (N,).
        size_px: Their side.
    """

    rows: np.ndarray
    cols: np.ndarray
    uncertainty: np.ndarray
    size_px: int

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: np.ndarray) -> Patches:
        """Return some of them, in the given order."""
        return Patches(self.rows[chosen], self.cols[chosen], self.uncertainty[chosen], self.size_px)

    def joined(self, other: Patches) -> Patches:
        """Return both, the most uncertain first; equal ones row by row."""
        rows, cols, found = (
            np.concatenate(pair)
            for pair in zip(
                (self.rows, self.cols, self.uncertainty),
                (other.rows, other.cols, other.uncertainty), strict=True,
            )
        )  # fmt: skip
        return Patches(rows, cols, found, self.size_px).take(np.lexsort((cols, rows, -found)))

    def apart(self) -> Patches:
        """Return those that touch no more uncertain one."""
        taken: set[tuple[int, int]] = set()
        chosen = []
        for i, (row, col) in enumerate(zip(self.rows.tolist(), self.cols.tolist(), strict=True)):
            place = row // self.size_px, col // self.size_px
            around = {(place[0] + down, place[1] + right) for down in _NEAR for right in _NEAR}
            if not around & taken:
                taken.add(place)
                chosen.append(i)
        return self.take(np.array(chosen, dtype=np.int64))

    def boxes(self, grid: Grid) -> np.ndarray:
        """Return their outlines in the CRS of the map, (N,); at its edges they are cut off."""
        tops, lefts = self.rows, self.cols
        bottoms = np.minimum(tops + self.size_px, grid.height_px)
        rights = np.minimum(lefts + self.size_px, grid.width_px)
        corners = ((lefts, tops), (rights, tops), (rights, bottoms), (lefts, bottoms))
        placed = [np.stack(grid.xy(cols, rows), axis=1) for cols, rows in corners]
        boxes: np.ndarray = shapely.polygons(np.stack(placed, axis=1))
        return boxes


def patch_px(grid: Grid, count: int) -> int:
    """Return the side of a patch that leaves enough patches to choose from."""
    side = int((grid.height_px * grid.width_px / (_PATCHES_EACH * count)) ** 0.5)
    return max(SMALLEST_PX, min(side, LARGEST_PX))


def most_uncertain(
    sure: QuantityMap, count: int, *, size_px: int, labelled: Sequence[shapely.Geometry] = ()
) -> Patches:
    """Return the candidates for some places, none beside another; reads the map in windows.

    Args:
        sure: Confidence, or entropy, of a map.
        count: Number of places.
        size_px: Side of a patch.
        labelled: Polygons in the CRS of the map whose patches are left out.
    """
    none = np.empty(0, dtype=np.int64)
    kept = Patches(none, none, np.empty(0), size_px)
    step = max(STEP_PX // size_px, 1) * size_px
    for window in sure.grid.windows(step):
        row, col, *_ = whole_pixels(window)
        found = _means(_uncertainty(sure, window), size_px)
        if len(labelled):
            found[_touched(sure.grid.crop(window), size_px, labelled)] = np.nan
        rows, cols = np.nonzero(np.isfinite(found))
        here = Patches(rows * size_px + row, cols * size_px + col, found[rows, cols], size_px)
        kept = kept.joined(here)
        kept = kept.take(np.arange(min(len(kept), _KEPT_EACH * count)))
    return kept.apart()


def differing(patches: Patches, features: np.ndarray, count: int) -> Patches:
    """Return one patch of each of ``count`` groups, the most uncertain of it.

    Args:
        patches: Candidates, the most uncertain first.
        features: What the scene shows there, (N, F), finite.
        count: Groups; all candidates where there are no more.
    """
    if len(patches) <= count:
        return patches
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    kinds = len(np.unique(scaled, axis=0))
    weights = np.maximum(patches.uncertainty, 1e-6)
    model = KMeans(min(count, kinds), n_init=4, random_state=0)
    groups = model.fit_predict(scaled, sample_weight=weights)
    _, first = np.unique(groups, return_index=True)
    # Where the scene shows fewer kinds of things than are asked for, the most uncertain follow.
    rest = np.setdiff1d(np.arange(len(patches)), first)[: count - len(first)]
    return patches.take(np.sort(np.concatenate([first, rest])))


def features_of(scene: Scene, grid: Grid, patches: Patches) -> np.ndarray:
    """Return mean and standard deviation of each band over the valid pixels of patches, (N, 2C).

    Args:
        scene: The scene that was mapped.
        grid: Grid of the map.
        patches: Patches of the map.

    Raises:
        GridMismatchError: Scene and map have different CRSs.
    """
    if scene.grid.crs != grid.crs:
        raise GridMismatchError(
            f"{scene.name} and the map have different CRSs; give the confidence of a map on the "
            f"scene's own grid"
        )
    found = np.zeros((len(patches), 2, len(scene.bands)), dtype=np.float64)
    for box, row in zip(patches.boxes(grid), found, strict=True):
        chip = scene.read(scene.grid.window(box.bounds))
        if chip.valid.any():
            values = chip.data[:, chip.valid].astype(np.float64)
            row[:] = values.mean(axis=1), values.std(axis=1)
    return found.reshape(len(patches), -1)


def write_places(path: Path, grid: Grid, patches: Patches) -> None:
    """Write places as numbered squares with an empty column ``class``.

    A GeoPackage gets a style that QGIS applies by itself.

    Raises:
        OutputError: The file cannot be written.
    """
    columns = {
        "place": np.arange(1, len(patches) + 1),
        "uncertainty": patches.uncertainty.round(4),
        "class": np.full(len(patches), None, dtype=object),
    }
    crs = None if grid.crs is None else grid.crs.to_wkt()
    frame = geopandas.GeoDataFrame(columns, geometry=patches.boxes(grid), crs=crs)
    style = outlines_qml("place"), outlines_sld("place", _LAYER)
    write_frame(path, frame, layer=_LAYER, style=style)


def _uncertainty(sure: QuantityMap, window: Window) -> np.ndarray:
    found = sure.read(window)
    return found if sure.name == "entropy" else 1 - found


def _means(values: np.ndarray, size_px: int) -> np.ndarray:
    """Return the means of the patches of a window; NaN where too little is mapped."""
    height, width = values.shape
    rows, cols = -(-height // size_px), -(-width // size_px)
    padded = np.full((rows * size_px, cols * size_px), np.nan, dtype=np.float64)
    padded[:height, :width] = values
    cells = padded.reshape(rows, size_px, cols, size_px)
    known = np.isfinite(cells)
    counts = known.sum(axis=(1, 3))
    sums = np.where(known, cells, 0).sum(axis=(1, 3))
    means: np.ndarray = np.full(counts.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts >= _LEAST_MAPPED * size_px**2)
    return means


def _touched(grid: Grid, size_px: int, shapes: Sequence[shapely.Geometry]) -> np.ndarray:
    """Return which patches of a window any of the polygons touches."""
    coarse = grid.coarser(size_px)
    touched: np.ndarray = geometry_mask(
        shapes, coarse.shape, coarse.transform, all_touched=True, invert=True
    )
    return touched
