"""How a scene is cut into blocks and overlapping tiles; geometry alone, no reading."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from rasterio.windows import Window

from rsmeta.errors import ConfigError
from rsmeta.geo.grid import whole_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Blend = Literal["cosine", "centre", "none"]

#: Orders blocks as they are worked through: number of the strip, first row, first column.
Turn: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Strip:
    """Blocks from the top of an extent to its bottom, worked through row by row.

    Tiles that several blocks of a strip share are computed once; how many must be kept for that
    is bounded by the width of the strip, never by the size of the scene.

    Args:
        number: Place among the strips, from 0.
        window: What the strip covers, in scene pixels.
        extent: What all strips cover together.
        block_px: Side of its blocks; those at the right and lower edge may be smaller.
    """

    number: int
    window: Window
    extent: Window
    block_px: int

    def blocks(self) -> Iterator[Window]:
        """Yield the blocks row by row."""
        top, left, height, width = whole_pixels(self.window)
        for row, col in product(range(0, height, self.block_px), range(0, width, self.block_px)):
            size = min(self.block_px, height - row), min(self.block_px, width - col)
            yield Window(left + col, top + row, size[1], size[0])

    def turn(self, block: Window) -> Turn:
        """Return when a block has its turn."""
        return self.number, int(block.row_off), int(block.col_off)

    def last_turn(self, tile: Window) -> Turn:
        """Return the turn of the last block of the strip that a tile touches."""
        top, left, height, width = whole_pixels(self.window)
        row = min(int(tile.row_off + tile.height), top + height) - 1 - top
        col = min(int(tile.col_off + tile.width), left + width) - 1 - left
        side = self.block_px
        return self.number, top + row // side * side, left + col // side * side

    def columns(self, tile: Window) -> list[int]:
        """Return the first scene columns of the blocks of the strip that a tile touches."""
        left, width, side = int(self.window.col_off), int(self.window.width), self.block_px
        first = max(int(tile.col_off) - left, 0) // side * side
        end = min(int(tile.col_off + tile.width) - left, width)
        return [left + col for col in range(first, end, side)]

    def is_home(self, tile: Window, block: Window) -> bool:
        """Return whether a block is the one, among all blocks it touches, that counts a tile."""
        row_fits = tile.row_off >= block.row_off or block.row_off == self.extent.row_off
        col_fits = tile.col_off >= block.col_off or block.col_off == self.extent.col_off
        return bool(row_fits and col_fits)


@dataclass(frozen=True)
class TilePlan:
    """One fixed grid of tiles over a scene, worked through in blocks.

    Tiles are always ``tile_px`` square and start every ``tile_px - overlap_px`` pixels; the last
    row and column are shifted back inside. A scene smaller than a tile has one tile there, which
    reaches over the edge. Blocks divide the scene without overlap. Tiles do not depend on
    blocks, so neither does a map.

    Args:
        height_px: Rows of the scene.
        width_px: Columns of the scene.
        tile_px: Side of a tile: what the network sees at once.
        overlap_px: Pixels that neighbouring tiles share.
        block_px: Side of a block: what is read and written at once.

    Raises:
        ConfigError: A size does not fit.
    """

    height_px: int
    width_px: int
    tile_px: int
    overlap_px: int
    block_px: int

    def __post_init__(self) -> None:
        for name in ("height_px", "width_px", "tile_px", "block_px"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.overlap_px < self.tile_px:
            raise ConfigError(
                f"overlap_px={self.overlap_px} must be at least 0 and below tile_px={self.tile_px}"
            )

    @cached_property
    def row_starts(self) -> tuple[int, ...]:
        """First scene row of each row of tiles."""
        return _starts(self.height_px, self.tile_px, self.overlap_px)

    @cached_property
    def col_starts(self) -> tuple[int, ...]:
        """First scene column of each column of tiles."""
        return _starts(self.width_px, self.tile_px, self.overlap_px)

    def strips(self, extent: Window | None = None, *, strip_blocks: int = 1) -> Iterator[Strip]:
        """Yield the strips of an extent from left to right.

        Args:
            extent: Part of the scene to work through, where the blocks start; none: all of it.
            strip_blocks: Width of a strip in blocks.
        """
        whole = extent or Window(0, 0, self.width_px, self.height_px)
        top, left, height, width = whole_pixels(whole)
        step = strip_blocks * self.block_px
        for number, col in enumerate(range(0, width, step)):
            window = Window(left + col, top, min(step, width - col), height)
            yield Strip(number, window, whole, self.block_px)

    def tiles(self, block: Window) -> list[Window]:
        """Return every tile of the scene that touches a block, row by row."""
        row, col, height, width = whole_pixels(block)
        rows = self._overlapping(self.row_starts, row, row + height)
        cols = self._overlapping(self.col_starts, col, col + width)
        return [Window(c, r, self.tile_px, self.tile_px) for r, c in product(rows, cols)]

    def extent(self, block: Window) -> Window:
        """Return the window that holds all tiles of a block: what has to be read for it."""
        tiles = [whole_pixels(tile) for tile in self.tiles(block)]
        top, left = tiles[0][:2]
        bottom, right = tiles[-1][0] + self.tile_px, tiles[-1][1] + self.tile_px
        return Window(left, top, right - left, bottom - top)

    def weights(
        self, tile: Window, blend: Blend
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the weights with which a tile of this plan enters the map.

        A pixel's weight is the product of those of its row and its column. The weights of all
        tiles at a pixel of the scene add up to 1.

        - ``cosine``: rises as a raised cosine over the overlap and is highest inside; never 0.
        - ``centre``: 1 where the tile's centre is the nearest of all (the upper or left one at
          equal distance), 0 elsewhere.
        - ``none``: 1 where no tile above or to the left has been, 0 elsewhere.

        Returns:
            Of rows and columns, (tile_px,) each, unitless in [0, 1].

        Raises:
            ValueError: The window is no tile of this plan.
        """
        row, col, *size = whole_pixels(tile)
        if row not in self.row_starts or col not in self.col_starts or size != 2 * [self.tile_px]:
            raise ValueError(f"{tile} is no tile of {self}")
        rows, cols = (
            _axis_weight(self._offsets(starts, at), self.tile_px, self.overlap_px, blend)
            for starts, at in ((self.row_starts, row), (self.col_starts, col))
        )
        return rows, cols

    def _offsets(self, starts: tuple[int, ...], at: int) -> tuple[int, ...]:
        """Return where the tiles that overlap one along an axis start, counted from it."""
        return tuple(s - at for s in self._overlapping(starts, at, at + self.tile_px))

    def _overlapping(self, starts: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
        first = bisect_right(starts, low - self.tile_px)
        return starts[first : bisect_left(starts, high)]


def _starts(size_px: int, tile_px: int, overlap_px: int) -> tuple[int, ...]:
    last = max(size_px - tile_px, 0)
    return (*range(0, last, tile_px - overlap_px), last)


@lru_cache(maxsize=256)
def _axis_weight(
    offsets: tuple[int, ...], tile_px: int, overlap_px: int, blend: Blend
) -> NDArray[np.float32]:
    """Return the weights along one axis, (tile_px,), of a tile among those at ``offsets``."""
    if blend == "cosine":
        total = np.zeros(3 * tile_px)
        single = _raised_cosine(tile_px, overlap_px)
        for offset in offsets:
            total[tile_px + offset : 2 * tile_px + offset] += single
        share: NDArray[np.float32] = (single / total[tile_px : 2 * tile_px]).astype(np.float32)
        return share
    before = max((offset for offset in offsets if offset < 0), default=None)
    after = min((offset for offset in offsets if offset > 0), default=None)
    pixels = np.arange(tile_px)
    owned = np.ones(tile_px, dtype=np.bool_)
    if blend == "none":
        if before is not None:
            owned = pixels >= before + tile_px
        return owned.astype(np.float32)
    # Twice the distance between pixel centre and tile centre keeps to whole numbers.
    if before is not None:
        owned &= 2 * pixels + 1 > before + tile_px
    if after is not None:
        owned &= 2 * pixels + 1 <= after + tile_px
    return owned.astype(np.float32)


def _raised_cosine(tile_px: int, overlap_px: int) -> NDArray[np.float64]:
    ramp_px = min(overlap_px, tile_px // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp_px) + 0.5) / max(ramp_px, 1))
    return np.concatenate([ramp, np.ones(tile_px - 2 * ramp_px), ramp[::-1]])
