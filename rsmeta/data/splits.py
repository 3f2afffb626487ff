"""Parts for training, validation and testing that share no pixel.

A part is a ``Region``: polygons in a scene's own CRS. Labels outside its region are invisible to
it, so that no label is in two parts; imagery is only where ``split.context=hide``. Scenes of one
place (a time series, say) are divided alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import rasterio.features
import shapely

from rsmeta.geo.footprint import outline
from rsmeta.geo.reprojection import onto_grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rasterio.crs import CRS

    from rsmeta.geo.grid import Grid

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

#: A block's name: number of its lattice, row and column.
Block = tuple[int, int, int]


@dataclass(frozen=True)
class Region:
    """The area that belongs to one part.

    Attributes:
        geometry: Polygons in the CRS of the scenes that it is asked about.
        inverted: The region is everything but ``geometry``.
    """

    geometry: shapely.Geometry
    inverted: bool = False

    def contains(self, grid: Grid) -> np.ndarray:
        """Return which pixel centres of ``grid`` lie in the region, (H, W) bool."""
        shape = (grid.height_px, grid.width_px)
        here = outline(grid)
        if not shapely.intersects(self.geometry, here):
            return np.full(shape, self.inverted)
        if not self.inverted and shapely.contains(self.geometry, here):
            return np.ones(shape, dtype=bool)
        inside: np.ndarray = rasterio.features.geometry_mask(
            [self.geometry], out_shape=shape, transform=grid.transform, invert=not self.inverted
        )
        return inside


def regions_of(
    held_out: Mapping[Part, shapely.Geometry], grid: Grid, *, gap_px: int
) -> dict[Part, Region]:
    """Divide one scene, leaving a gap between the parts.

    Args:
        held_out: Validation and test areas in the scene's CRS.
        grid: The scene's grid, for the size of a pixel.
        gap_px: Pixels of the training (and validation) part left unused along other parts.

    Returns:
        A region for ``train`` and for each held-out part.
    """
    gap = gap_px * max(grid.pixel_size)
    validation = held_out.get("validation", shapely.MultiPolygon())
    test = held_out.get("test", shapely.MultiPolygon())
    taken = grown(shapely.union(validation, test), gap)
    regions: dict[Part, Region] = {"train": Region(taken, inverted=True)}
    if not validation.is_empty:
        regions["validation"] = Region(shapely.difference(validation, grown(test, gap)))
    if not test.is_empty:
        regions["test"] = Region(test)
    return regions


def grown(geometry: shapely.Geometry, distance: float) -> shapely.Geometry:
    """Return ``geometry`` with a rim of ``distance`` around it, in units of its CRS."""
    return shapely.buffer(geometry, distance, join_style="mitre") if distance else geometry


@dataclass(frozen=True)
class BlockLattice:
    """Square blocks over a place that several scenes may share.

    Attributes:
        crs: CRS of the coordinates; none for scenes without one.
        left: x of the lattice's origin.
        top: y of the lattice's origin.
        width: Width of a block in CRS units.
        height: Height of a block in CRS units.
    """

    crs: CRS | None
    left: float
    top: float
    width: float
    height: float

    @classmethod
    def on(cls, grid: Grid, block_px: int) -> BlockLattice:
        """Lay blocks of ``block_px`` pixels over a grid, from its upper left corner."""
        left, _, _, top = grid.bounds
        x_size, y_size = grid.pixel_size
        return cls(grid.crs, left, top, block_px * x_size, block_px * y_size)

    def locate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the (row, column) of the block of each point, (N, 2) int64."""
        rows = np.floor((self.top - y) / self.height)
        cols = np.floor((x - self.left) / self.width)
        return np.stack([rows, cols], axis=-1).astype(np.int64)

    def polygons(self, blocks: Sequence[tuple[int, int]], grid: Grid) -> shapely.Geometry:
        """Return what of some blocks lies on or about a grid, in its CRS."""
        boxes = [
            shapely.box(
                self.left + col * self.width,
                self.top - (row + 1) * self.height,
                self.left + (col + 1) * self.width,
                self.top - row * self.height,
            )
            for row, col in blocks
        ]
        ground: shapely.Geometry = onto_grid(np.array([shapely.union_all(boxes)]), self.crs, grid)[
            0
        ]
        return ground


def choose_blocks(
    counts: Mapping[Block, np.ndarray],
    shares: Mapping[Part, float],
    rng: np.random.Generator,
) -> dict[Part, list[Block]]:
    """Choose blocks for validation and test whose share of every class is near the wanted one.

    A first block is drawn; then the block that brings the shares nearest is added, until none
    does. The last block with a class always stays in training. Sparse labels often allow no
    exact division: every class counts alike, so that rare ones are represented if they can be.

    Args:
        counts: Labelled pixels per class, (K,), of every block with labels.
        shares: Wanted share of each class's pixels per held-out part.
        rng: Draws the first block; the same generator state gives the same blocks.

    Returns:
        The blocks of each held-out part, sorted.
    """
    free = [sorted(counts)[i] for i in rng.permutation(len(counts))]
    totals = np.maximum(np.sum([counts[block] for block in free], axis=0), 1)
    chosen: dict[Part, list[Block]] = {"test": [], "validation": []}
    for part, taken in chosen.items():
        share = shares.get(part, 0.0)
        got = np.zeros(len(totals))
        while share:
            nearer = _nearer(free, counts, got, totals, share)
            if not nearer:
                break
            block = min(nearer, key=nearer.__getitem__) if taken else next(iter(nearer))
            free.remove(block)
            taken.append(block)
            got = got + counts[block]
        taken.sort()
    return chosen


def _nearer(
    free: Sequence[Block],
    counts: Mapping[Block, np.ndarray],
    got: np.ndarray,
    totals: np.ndarray,
    share: float,
) -> dict[Block, float]:
    """Return the blocks that would bring the shares nearer, with the distance that would be left.

    A block that holds the last pixels of a class in ``free`` is not among them.
    """
    left = np.sum([counts[block] for block in free], axis=0)
    here = np.square(got / totals - share).sum()
    found = {}
    for block in free:
        count = counts[block]
        distance = np.square((got + count) / totals - share).sum()
        if distance < here and np.all((left > count)[count > 0]):
            found[block] = float(distance)
    return found
