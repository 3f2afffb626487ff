"""How a scene is cut into blocks and overlapping tiles; geometry alone, no reading."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
from rasterio.windows import Window

from rsmeta.errors import ConfigError
from rsmeta.geo.grid import whole_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Blend = Literal["cosine", "centre", "none"]


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

    def blocks(self) -> Iterator[Window]:
        """Yield the blocks row by row; those at the right and lower edge may be smaller."""
        for row, col in product(
            range(0, self.height_px, self.block_px), range(0, self.width_px, self.block_px)
        ):
            height = min(self.block_px, self.height_px - row)
            width = min(self.block_px, self.width_px - col)
            yield Window(col, row, width, height)

    def tiles(self, block: Window) -> list[Window]:
        """Return every tile of the scene that touches a block, row by row."""
        row, col, height, width = whole_pixels(block)
        rows = self._touching(self.row_starts, row, row + height)
        cols = self._touching(self.col_starts, col, col + width)
        return [Window(c, r, self.tile_px, self.tile_px) for r, c in product(rows, cols)]

    def extent(self, block: Window) -> Window:
        """Return the window that holds all tiles of a block: what has to be read for it."""
        tiles = [whole_pixels(tile) for tile in self.tiles(block)]
        top, left = tiles[0][:2]
        bottom, right = tiles[-1][0] + self.tile_px, tiles[-1][1] + self.tile_px
        return Window(left, top, right - left, bottom - top)

    def weights(self, blend: Blend) -> NDArray[np.float32]:
        """Return the weights of a tile that has regular neighbours on all four sides.

        Returns:
            (tile_px, tile_px), unitless in (0, 1] for ``cosine`` and in {0, 1} otherwise; see
            ``tile_weight`` for tiles at their place.
        """
        stride_px = self.tile_px - self.overlap_px
        axis = _axis_weight((-stride_px, 0, stride_px), self.tile_px, self.overlap_px, blend)
        return _outer(axis, axis)

    def tile_weight(self, tile: Window, blend: Blend) -> NDArray[np.float32]:
        """Return the weights with which a tile of this plan enters the map.

        - ``cosine``: rises as a raised cosine over the overlap and is 1 inside; never 0, the same
          for every tile. Regular neighbours that overlap by at most half a tile add up to 1;
          elsewhere the blend has to divide by the sum.
        - ``centre``: 1 where the tile's centre is the nearest of all (the upper or left one at
          equal distance), 0 elsewhere.
        - ``none``: 1 where no tile above or to the left has been, 0 elsewhere.

        In ``centre`` and ``none`` every pixel of the scene has exactly one tile.

        Returns:
            (tile_px, tile_px), unitless.

        Raises:
            ValueError: The window is no tile of this plan.
        """
        row, col, *size = whole_pixels(tile)
        if row not in self.row_starts or col not in self.col_starts or size != 2 * [self.tile_px]:
            raise ValueError(f"{tile} is no tile of {self}")
        axes = [
            _axis_weight(_neighbours(starts, at), self.tile_px, self.overlap_px, blend)
            for starts, at in ((self.row_starts, row), (self.col_starts, col))
        ]
        return _outer(*axes)

    def _touching(self, starts: tuple[int, ...], low: int, high: int) -> list[int]:
        return [start for start in starts if start < high and start + self.tile_px > low]


def _starts(size_px: int, tile_px: int, overlap_px: int) -> tuple[int, ...]:
    last = max(size_px - tile_px, 0)
    return (*range(0, last, tile_px - overlap_px), last)


def _neighbours(starts: tuple[int, ...], start: int) -> tuple[int | None, int, int | None]:
    index = starts.index(start)
    before = starts[index - 1] if index > 0 else None
    return before, start, starts[index + 1] if index + 1 < len(starts) else None


@lru_cache(maxsize=256)
def _axis_weight(
    starts: tuple[int | None, int, int | None], tile_px: int, overlap_px: int, blend: Blend
) -> NDArray[np.float32]:
    """Return the weights along one axis, (tile_px,), of a tile between two neighbours."""
    if blend == "cosine":
        return _raised_cosine(tile_px, overlap_px)
    before, start, after = starts
    pixels = np.arange(start, start + tile_px)
    owned = np.ones(tile_px, dtype=np.bool_)
    if blend == "none":
        if before is not None:
            owned = pixels >= before + tile_px
        return owned.astype(np.float32)
    # Twice the distance between pixel centre and tile centre keeps to whole numbers.
    if before is not None:
        owned &= 2 * pixels + 1 > before + start + tile_px
    if after is not None:
        owned &= 2 * pixels + 1 <= after + start + tile_px
    return owned.astype(np.float32)


def _raised_cosine(tile_px: int, overlap_px: int) -> NDArray[np.float32]:
    ramp_px = min(overlap_px, tile_px // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp_px) + 0.5) / max(ramp_px, 1))
    return np.concatenate([ramp, np.ones(tile_px - 2 * ramp_px), ramp[::-1]]).astype(np.float32)


def _outer(rows: NDArray[np.float32], cols: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows[:, np.newaxis] * cols[np.newaxis, :]
