"""First stage: the pixels of each block with all its tiles, read once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from rasterio.windows import Window

from rsmeta.geo.coverage import may_hold_data
from rsmeta.geo.grid import whole_pixels
from rsmeta.inference.arrays import large_array

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterable

    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import Strip, TilePlan

#: Rows that one thread reads at once: a row of the tiles that most files have.
_ROWS_PX = 512
#: Threads that decode a file side by side; more wait for the disk.
READERS = min(4, os.cpu_count() or 1)

#: Index of (rows, columns) in an array.
Place: TypeAlias = tuple[slice, slice]


@dataclass(frozen=True)
class ReadBlock:
    """A block as it was read.

    Attributes:
        strip: What it is a part of.
        window: Its place in the scene.
        origin: Place of ``data``: of all tiles together.
        data: Physical values, (C, h, w) float32; none where the block has no valid pixel.
        valid: (h, w) bool; none likewise.
        tiles: Tiles with a valid pixel that touch it, row by row.
        skipped: Tiles without one that count with this block.
    """

    strip: Strip
    window: Window
    origin: Window
    data: np.ndarray | None
    valid: np.ndarray | None
    tiles: tuple[Window, ...]
    skipped: int

    def without_pixels(self) -> ReadBlock:
        """Return where it lies and what it needs, alone."""
        return replace(self, data=None, valid=None)


def read_blocks(
    scene: Scene, plan: TilePlan, strips: Iterable[Strip], *, finished: Container[Window] = ()
) -> Generator[ReadBlock, None, None]:
    """Yield the blocks of strips in order, but those that are finished.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="rsmeta-read") as pool:
        for strip in strips:
            for block in strip.blocks():
                if block not in finished:
                    yield _read_block(pool, scene, plan, strip, block)


def within(window: Window, origin: Window) -> Place:
    """Return the index of a window inside an array that starts at ``origin``."""
    row, col = int(window.row_off - origin.row_off), int(window.col_off - origin.col_off)
    return np.s_[row : row + int(window.height), col : col + int(window.width)]


def _read_block(
    pool: ThreadPoolExecutor, scene: Scene, plan: TilePlan, strip: Strip, block: Window
) -> ReadBlock:
    origin, tiles = plan.extent(block), plan.tiles(block)
    homely = [tile for tile in tiles if strip.is_home(tile, block)]
    if not may_hold_data(scene, block):
        skipped = len(homely)
        if may_hold_data(scene, origin):
            skipped -= sum(_has_valid(scene, tile) for tile in homely)
        return ReadBlock(strip, block, origin, None, None, (), skipped)
    data, valid = _read(pool, scene, origin)
    full = tuple(tile for tile in tiles if valid[within(tile, origin)].any())
    skipped = len(homely) - sum(strip.is_home(tile, block) for tile in full)
    if not valid[within(block, origin)].any():
        return ReadBlock(strip, block, origin, None, None, (), skipped)
    return ReadBlock(strip, block, origin, data, valid, full, skipped)


def _has_valid(scene: Scene, tile: Window) -> bool:
    return may_hold_data(scene, tile) and bool(scene.read(tile).valid.any())


def _read(pool: ThreadPoolExecutor, scene: Scene, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Read a window with several threads, each some rows of the file's tiles."""
    top, left, height, width = whole_pixels(window)
    data = large_array((len(scene.bands), height, width), np.float32)
    valid = large_array((height, width), np.bool_)

    def read_rows(first: int, end: int) -> None:
        rows = slice(first - top, end - top)
        scene.read_into(Window(left, first, width, end - first), data[:, rows], valid[rows])

    inner = range((top // _ROWS_PX + 1) * _ROWS_PX, top + height, _ROWS_PX)
    rows = pairwise([top, *inner, top + height])
    for done in [pool.submit(read_rows, first, end) for first, end in rows]:
        done.result()
    return data, valid
