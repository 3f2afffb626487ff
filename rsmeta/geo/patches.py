"""Maps with one value per patch of a scene: a coarser grid, and the tile behind each value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rasterio.windows import Window, intersect

from rsmeta.errors import ConfigError
from rsmeta.geo.plan import MapPlan

if TYPE_CHECKING:
    from rsmeta.geo.grid import Grid


@dataclass(frozen=True, kw_only=True)
class PatchPlan(MapPlan):
    """Square cells over a part of a scene; each gets one value, from the tile around its centre.

    Args:
        stride_px: Side of a cell, in the scene's pixels; the last ones may reach over the extent.
    """

    stride_px: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride_px < 1:
            raise ConfigError(f"stride_px={self.stride_px} must be at least 1")

    @cached_property
    def grid(self) -> Grid:
        """The grid of the cells."""
        return self.scene_grid.crop(self.extent).coarser(self.stride_px)

    @property
    def block_side(self) -> int:
        """Side of a block in cells: one at least."""
        return max(1, self.block_px // self.stride_px)

    def read_window(self, block: Window) -> Window:
        """Return the scene's pixels that the tiles of a block cover; they may reach beyond it."""
        first = self.tile(int(block.row_off), int(block.col_off))
        rows, cols = (int(n) - 1 for n in (block.height, block.width))
        height, width = (self.stride_px * n + self.tile_px for n in (rows, cols))
        return Window(first.col_off, first.row_off, width, height)

    def fingerprint(self) -> dict[str, int]:
        """Return the sizes that determine the map."""
        return {"tile_px": self.tile_px, "stride_px": self.stride_px, "block_px": self.block_px}

    def tile(self, row: int, col: int) -> Window:
        """Return the scene's pixels that the value of a cell comes from: centred on it."""
        before = (self.tile_px - self.stride_px) // 2
        return self._square(row, col, self.tile_px, before)

    def cell(self, row: int, col: int) -> Window:
        """Return the scene's pixels that a cell stands for, inside the extent."""
        return self._square(row, col, self.stride_px).intersection(self.extent)

    def seen(self, row: int, col: int) -> Window | None:
        """Return the pixels of a cell that its tile sees.

        There are none where tiles are smaller than cells and the last one, cut off by the extent,
        has its middle outside.
        """
        cell, tile = self.cell(row, col), self.tile(row, col)
        return cell.intersection(tile) if intersect(cell, tile) else None

    def _square(self, row: int, col: int, side_px: int, before_px: int = 0) -> Window:
        left = int(self.extent.col_off) + col * self.stride_px - before_px
        top = int(self.extent.row_off) + row * self.stride_px - before_px
        return Window(left, top, side_px, side_px)
