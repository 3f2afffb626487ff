"""Hold out a share of the training part, by which the scales of the adapters are judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import shapely
from rasterio.warp import transform

from rsmeta.data.build_splits import index_scenes
from rsmeta.data.divide import block_px, gap_between_blocks_px
from rsmeta.data.label_index import CELL_PX
from rsmeta.data.places import same_place
from rsmeta.data.splits import Block, BlockLattice, Region, choose_blocks, grown
from rsmeta.data.streams import random_stream
from rsmeta.errors import SplitError, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.data import DataSettings
    from rsmeta.data.build_splits import IndexedScene
    from rsmeta.data.chips import LabelledScene


def held_out_split(
    parts: Sequence[IndexedScene], share: float, *, settings: DataSettings, seed: int
) -> tuple[list[IndexedScene], list[IndexedScene]]:
    """Divide the training part by blocks; all scenes of one place are divided alike.

    Args:
        parts: The scenes as training sees them.
        share: Of every class's labelled pixels, as nearly as blocks allow.
        settings: The ``data`` section: chips, classes, gap.
        seed: Seed of the division.

    Returns:
        What is left for training, and what is held out; no pixel is in both.

    Raises:
        SplitError: The labels lie in too few blocks.
    """
    lattices = _lattices(parts, settings)
    counts: dict[Block, np.ndarray] = {}
    for part, (number, lattice) in zip(parts, lattices, strict=True):
        for (row, col), count in _count_by_block(part, lattice).items():
            block = (number, row, col)
            counts[block] = counts.get(block, 0) + count
    rng = random_stream("held_out", seed)
    chosen = choose_blocks(counts, {"validation": share}, rng)["validation"]
    gap_px = gap_between_blocks_px(settings, [part.labelled for part in parts])
    kept: list[LabelledScene] = []
    held: list[LabelledScene] = []
    for part, (number, lattice) in zip(parts, lattices, strict=True):
        blocks = [(row, col) for n, row, col in chosen if n == number]
        area = lattice.polygons(blocks, part.labelled.scene.grid)
        left, taken = _regions(part, area, gap_px)
        kept.append(replace(part.labelled, region=left))
        held.append(replace(part.labelled, region=taken))
    of_training, of_scales = index_scenes(settings, kept), index_scenes(settings, held)
    if not (of_training and of_scales):
        raise SplitError(
            f"the training labels lie in {counted(len(counts), 'block')}, too few for "
            f"meta.source=held_out; use meta.source=train"
        )
    return of_training, of_scales


def _lattices(
    parts: Sequence[IndexedScene], settings: DataSettings
) -> list[tuple[int, BlockLattice]]:
    """Return for each scene the number of its place, and the blocks that this place has."""
    grids = [part.labelled.scene.grid for part in parts]
    found: dict[int, tuple[int, BlockLattice]] = {}
    for number, place in enumerate(same_place(grids)):
        first = grids[place[0]]
        lattice = BlockLattice.on(first, block_px(settings, first))
        found |= dict.fromkeys(place, (number, lattice))
    return [found[i] for i in range(len(parts))]


def _regions(part: IndexedScene, area: shapely.Geometry, gap_px: int) -> tuple[Region, Region]:
    """Return the regions of a scene that stay for training, and that are held out."""
    before = part.labelled.region
    taken = before.geometry if before is not None else shapely.MultiPolygon()
    gap = gap_px * max(part.labelled.scene.grid.pixel_size)
    left = Region(shapely.union(taken, grown(area, gap)), inverted=True)
    return left, Region(shapely.difference(area, taken))


def _count_by_block(part: IndexedScene, lattice: BlockLattice) -> dict[tuple[int, int], np.ndarray]:
    """Count the labelled pixels per class, (K,), in the blocks that the cells' centres lie in."""
    grid, index = part.labelled.scene.grid, part.index
    rows, cols = ((index.cells + 0.5) * CELL_PX).T
    x, y = grid.xy(cols, rows)
    if lattice.crs is not None and grid.crs not in (None, lattice.crs):
        x, y = map(np.asarray, transform(grid.crs, lattice.crs, x, y))
    totals: dict[tuple[int, int], np.ndarray] = {}
    for (row, col), count in zip(lattice.locate(x, y).tolist(), index.counts, strict=True):
        totals[row, col] = totals.get((row, col), 0) + count
    return totals
