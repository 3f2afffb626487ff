"""Maps with one value per pixel: how a scene is cut into blocks and overlapping tiles."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product
from typing import TYPE_CHECKING, TypeAlias

from rasterio.windows import Window

from rsmeta.errors import ConfigError
from rsmeta.geo.blending_weights import axis_weights
from rsmeta.geo.grid import whole_pixels
from rsmeta.geo.plan import MapPlan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rsmeta.geo.blending_weights import Blend
    from rsmeta.geo.grid import Grid

#: Orders blocks as they are worked through: number of the strip, first row, first column.
Turn: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Strip:
    """Blocks of a map that lie below and beside each other, worked through row by row.

    Tiles that several blocks of a strip share are computed once; how many must be kept for that
    is bounded by the width of the strip, never by the size of the map.

    Args:
        number: Place among the strips.
        blocks: Its blocks, in order; there may be gaps between them.
        block_px: Side of a block.
    """

    number: int
    blocks: tuple[Window, ...]
    block_px: int

    @cached_property
    def window(self) -> Window:
        """The window around all blocks."""
        return _around(self.blocks)

    def turn(self, block: Window) -> Turn:
        """Return when a block has its turn."""
        return self.number, int(block.row_off), int(block.col_off)

    def last_turn(self, tile: Window) -> Turn:
        """Return the turn of the last block of the strip that a tile touches."""
        top, left, height, width = whole_pixels(self.window)
        row = min(int(tile.row_off + tile.height), top + height) - 1
        col = min(int(tile.col_off + tile.width), left + width) - 1
        return self.number, self._block_start(row), self._block_start(col)

    def columns(self, tile: Window) -> list[int]:
        """Return the first columns of the blocks of the strip that a tile touches."""
        left, width = int(self.window.col_off), int(self.window.width)
        first = self._block_start(max(int(tile.col_off), left))
        end = min(int(tile.col_off + tile.width), left + width)
        return list(range(first, end, self.block_px))

    def _block_start(self, at: int) -> int:
        return at // self.block_px * self.block_px


@dataclass(frozen=True, kw_only=True)
class TilePlan(MapPlan):
    """One fixed grid of overlapping tiles over a scene, worked through in blocks.

    Tiles are always ``tile_px`` square and start every ``tile_px - overlap_px`` pixels of the
    scene, whatever part of it is mapped; the last row and column are shifted back inside. A scene
    smaller than a tile has one tile there, which reaches over the edge. Blocks and tiles are
    windows of the map, and a tile may reach over its edges into the scene around it.

    Args:
        overlap_px: Pixels that neighbouring tiles share.

    Raises:
        ConfigError: A size does not fit.
    """

    overlap_px: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.overlap_px < self.tile_px:
            raise ConfigError(
                f"overlap_px={self.overlap_px} must be at least 0 and below tile_px={self.tile_px}"
            )

    @cached_property
    def grid(self) -> Grid:
        """The grid of the scene, cropped to what is mapped."""
        return self.scene_grid.crop(self.extent)

    @property
    def block_side(self) -> int:
        """Side of a block in pixels."""
        return self.block_px

    @cached_property
    def row_starts(self) -> tuple[int, ...]:
        """First map row of each row of tiles of the scene; negative above the map."""
        return self._starts(self.scene_grid.height_px, int(self.extent.row_off))

    @cached_property
    def col_starts(self) -> tuple[int, ...]:
        """First map column of each column of tiles of the scene; negative left of the map."""
        return self._starts(self.scene_grid.width_px, int(self.extent.col_off))

    def strips(self, blocks: Iterable[Window], *, blocks_wide: int) -> Iterator[Strip]:
        """Yield blocks of the plan, in any order, as strips from left to right.

        Args:
            blocks: The blocks.
            blocks_wide: Width of a strip in blocks, at most.
        """

        def number(block: Window) -> int:
            return int(block.col_off) // (blocks_wide * self.block_px)

        ordered = sorted(blocks, key=lambda b: (number(b), b.row_off, b.col_off))
        for place, those in groupby(ordered, key=number):
            yield Strip(place, tuple(those), self.block_px)

    def tiles(self, block: Window) -> list[Window]:
        """Return every tile of the scene that touches a block, row by row."""
        row, col, height, width = whole_pixels(block)
        rows = self._overlapping(self.row_starts, row, row + height)
        cols = self._overlapping(self.col_starts, col, col + width)
        return [Window(c, r, self.tile_px, self.tile_px) for r, c in product(rows, cols)]

    def counts(self, tile: Window, block: Window) -> bool:
        """Return whether a block is the one, among all blocks it touches, that counts a tile."""
        row_fits = tile.row_off >= block.row_off or block.row_off == 0
        col_fits = tile.col_off >= block.col_off or block.col_off == 0
        return bool(row_fits and col_fits)

    def tiles_window(self, block: Window) -> Window:
        """Return the window around all tiles of a block, in pixels of the map."""
        tiles = self.tiles(block)
        return _around([tiles[0], tiles[-1]])

    def in_scene(self, window: Window) -> Window:
        """Return a window of the map as one of the scene."""
        col, row = window.col_off + self.extent.col_off, window.row_off + self.extent.row_off
        return Window(col, row, window.width, window.height)

    def in_map(self, window: Window) -> Window:
        """Return a window of the scene as one of the map."""
        col, row = window.col_off - self.extent.col_off, window.row_off - self.extent.row_off
        return Window(col, row, window.width, window.height)

    def read_window(self, block: Window) -> Window:
        """Return the scene's pixels that the tiles of a block cover."""
        return self.in_scene(self.tiles_window(block))

    def fingerprint(self) -> dict[str, int]:
        """Return the sizes that determine the map, and its blocks."""
        sizes = {"tile_px": self.tile_px, "overlap_px": self.overlap_px}
        return sizes | {"block_px": self.block_px}

    def weights(
        self, tile: Window, blend: Blend
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the weights with which a tile of this plan enters the map.

        A pixel's weight is the product of those of its row and its column. The weights of all
        tiles at a pixel of the scene add up to 1.

        Returns:
            Of rows and columns, (tile_px,) each, unitless in [0, 1].

        Raises:
            ValueError: The window is no tile of this plan.
        """
        row, col, *size = whole_pixels(tile)
        is_tile = _holds(self.row_starts, row) and _holds(self.col_starts, col)
        if not is_tile or size != 2 * [self.tile_px]:
            raise ValueError(f"{tile} is no tile of {self}")
        rows, cols = (
            axis_weights(self._offsets(starts, at), self.tile_px, self.overlap_px, blend)
            for starts, at in ((self.row_starts, row), (self.col_starts, col))
        )
        return rows, cols

    def _starts(self, size_px: int, first_px: int) -> tuple[int, ...]:
        last = max(size_px - self.tile_px, 0)
        starts = (*range(0, last, self.tile_px - self.overlap_px), last)
        return tuple(start - first_px for start in starts)

    def _offsets(self, starts: tuple[int, ...], at: int) -> tuple[int, ...]:
        """Return where the tiles that overlap one along an axis start, counted from it."""
        return tuple(s - at for s in self._overlapping(starts, at, at + self.tile_px))

    def _overlapping(self, starts: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
        first = bisect_right(starts, low - self.tile_px)
        return starts[first : bisect_left(starts, high)]


def _holds(ascending: tuple[int, ...], number: int) -> bool:
    place = bisect_left(ascending, number)
    return place < len(ascending) and ascending[place] == number


def _around(windows: Sequence[Window]) -> Window:
    top, left = (min(int(getattr(w, off)) for w in windows) for off in ("row_off", "col_off"))
    bottom = max(int(window.row_off + window.height) for window in windows)
    right = max(int(window.col_off + window.width) for window in windows)
    return Window(left, top, right - left, bottom - top)
