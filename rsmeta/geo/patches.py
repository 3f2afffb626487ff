"""Cells of a scene that get one value each: a coarser grid, and the tile that each is judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rasterio.windows import Window, intersect

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class PatchPlan:
    """Cells over a part of a scene, and blocks of them; pure geometry.

    Attributes:
        extent: The part of the scene that is mapped, in its pixels.
        tile_px: Side of the square around a cell's centre that its value comes from.
        stride_px: Side of a cell; the last ones may reach over the extent.
        block_px: Side of the ground of a block of cells, at most, unless one cell is larger.
    """

    extent: Window
    tile_px: int
    stride_px: int
    block_px: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        height, width = self.extent.height, self.extent.width
        return math.ceil(height / self.stride_px), math.ceil(width / self.stride_px)

    @property
    def block_cells(self) -> int:
        """Side of a block in cells."""
        return max(1, self.block_px // self.stride_px)

    def blocks(self) -> Iterator[Window]:
        """Yield windows of cells that cover them all, row by row."""
        rows, cols = self.shape
        step = self.block_cells
        for row in range(0, rows, step):
            for col in range(0, cols, step):
                yield Window(col, row, min(step, cols - col), min(step, rows - row))

    def ground(self, block: Window) -> Window:
        """Return the scene's pixels that the tiles of a block cover; they may reach beyond it."""
        first = self.tile(int(block.row_off), int(block.col_off))
        rows, cols = (int(n) - 1 for n in (block.height, block.width))
        height, width = (self.stride_px * n + self.tile_px for n in (rows, cols))
        return Window(first.col_off, first.row_off, width, height)

    def tile(self, row: int, col: int) -> Window:
        """Return the scene's pixels that a cell is judged by: centred on it."""
        before = (self.tile_px - self.stride_px) // 2
        return Window(
            int(self.extent.col_off) + col * self.stride_px - before,
            int(self.extent.row_off) + row * self.stride_px - before,
            self.tile_px,
            self.tile_px,
        )

    def cell(self, row: int, col: int) -> Window:
        """Return the scene's pixels that a cell stands for, inside the extent."""
        whole = Window(
            int(self.extent.col_off) + col * self.stride_px,
            int(self.extent.row_off) + row * self.stride_px,
            self.stride_px,
            self.stride_px,
        )
        return whole.intersection(self.extent)

    def seen(self, row: int, col: int) -> Window | None:
        """Return the pixels of a cell that its tile sees.

        There are none where tiles are smaller than cells and the last one, cut off by the extent,
        has its middle outside.
        """
        cell, tile = self.cell(row, col), self.tile(row, col)
        return cell.intersection(tile) if intersect(cell, tile) else None
