"""Where labelled pixels are, each of them once, with its class and its polygon or block."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rasterio.warp import transform

from rsmeta.data.divide import block_px
from rsmeta.data.label_index import labelled_windows
from rsmeta.data.places import same_place
from rsmeta.data.polygon_labels import PolygonLabels
from rsmeta.data.splits import BlockLattice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rsmeta.config.data import DataSettings
    from rsmeta.data.chips import LabelledScene


class Places(NamedTuple):
    """Labelled, valid pixels, (N,) int64 each.

    Attributes:
        scene: Number of the scene.
        row: Of the scene.
        col: Of the scene.
        label: Class index.
        group: Number of the polygon that the pixel is of, or of the split block where labels are
            rasters. Pixels of one group are alike, so they are never judged by each other.
    """

    scene: np.ndarray
    row: np.ndarray
    col: np.ndarray
    label: np.ndarray
    group: np.ndarray

    def take(self, chosen: np.ndarray) -> Places:
        """Return some of the pixels, by indices or a mask."""
        return Places(*(column[chosen] for column in self))


def labelled_places(
    scenes: Sequence[LabelledScene],
    settings: DataSettings,
    *,
    shares: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> Places:
    """Return the labelled pixels of scenes in their regions.

    Scenes of one place share their groups, so that a polygon is one group at all dates.

    Args:
        scenes: Labelled by classes.
        settings: The ``data`` section, for the side of a block.
        shares: Share of the pixels of each class to draw, (K,); none: all.
        rng: Draws them.
    """
    numbers: dict[Any, int] = {}
    lattices = _lattices(scenes, settings)
    found = [Places(*(np.empty(0, np.int64),) * 5)]
    for number, (one, (place, lattice)) in enumerate(zip(scenes, lattices, strict=True)):
        for window, strata, _ in labelled_windows(one):
            rows, cols = np.nonzero(strata >= 0)
            if shares is not None and rng is not None:
                kept = rng.random(len(rows)) < shares[strata[rows, cols]]
                rows, cols = rows[kept], cols[kept]
            label = strata[rows, cols]
            if isinstance(one.labels, PolygonLabels):
                owners = one.labels.read_owners(window)[rows, cols]
                names, inverse = np.unique(owners, return_inverse=True)
                path, index = str(one.labels.path), one.labels.shapes.index
                keys: list[Any] = [(path, int(index[name])) for name in names.tolist()]
            rows, cols = rows + int(window.row_off), cols + int(window.col_off)
            if not isinstance(one.labels, PolygonLabels):
                blocks = _blocks(one, lattice, rows, cols)
                unique, inverse = np.unique(blocks, axis=0, return_inverse=True)
                keys = [(place, *block) for block in unique.tolist()]
            of_key = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
            scene = np.full(len(rows), number)
            group = of_key[inverse.ravel()] if len(rows) else np.empty(0, np.int64)
            found.append(Places(scene, rows, cols, label, group))
    return Places(*(np.concatenate(column).astype(np.int64) for column in zip(*found, strict=True)))


def _lattices(
    scenes: Sequence[LabelledScene], settings: DataSettings
) -> list[tuple[int, BlockLattice]]:
    """Return for each scene the number of its place, and the blocks of that place."""
    grids = [one.scene.grid for one in scenes]
    found: dict[int, tuple[int, BlockLattice]] = {}
    for number, place in enumerate(same_place(grids)):
        first = grids[place[0]]
        lattice = BlockLattice.on(first, block_px(settings, first))
        found |= dict.fromkeys(place, (number, lattice))
    return [found[i] for i in range(len(grids))]


def _blocks(
    labelled: LabelledScene, lattice: BlockLattice, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Return the row and column of the block of each pixel, (N, 2) int64."""
    grid = labelled.scene.grid
    x, y = grid.xy(cols + 0.5, rows + 0.5)
    if lattice.crs is not None and grid.crs not in (None, lattice.crs):
        x, y = map(np.asarray, transform(grid.crs, lattice.crs, x, y))
    return lattice.locate(x, y)
