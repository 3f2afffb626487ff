"""First stage: the pixels of each block with all its tiles, read once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from rasterio.windows import Window

from rsmeta.geo.grid import whole_pixels
from rsmeta.geo.sparse import may_hold_data
from rsmeta.inference.arrays import large_array

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterable, Iterator

    from rsmeta.geo.aoi import Area
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import Strip, TilePlan

#: Side of what one thread reads at once: that of a tile that most files have.
_PART_PX = 512
#: A file with longer tiles than this is taken for one that is stored row by row.
_LONGEST_TILE_PX = 2048
#: Threads that decode a file side by side; more wait for the disk.
READERS = min(4, os.cpu_count() or 1)

#: Pools of one thread each.
_Readers: TypeAlias = "list[ThreadPoolExecutor]"
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
        wanted: Of the block alone, which pixels are to be mapped: valid ones inside the area of
            interest; none likewise.
        tiles: Tiles with a wanted pixel that touch it, row by row.
        skipped: Tiles without one that count with this block.
    """

    strip: Strip
    window: Window
    origin: Window
    data: np.ndarray | None
    valid: np.ndarray | None
    wanted: np.ndarray | None
    tiles: tuple[Window, ...]
    skipped: int

    def without_pixels(self) -> ReadBlock:
        """Return where it lies and what it needs, alone."""
        return replace(self, data=None, valid=None, wanted=None)


def read_blocks(
    scene: Scene,
    plan: TilePlan,
    strips: Iterable[Strip],
    *,
    finished: Container[Window] = (),
    area: Area | None = None,
) -> Generator[ReadBlock, None, None]:
    """Yield the blocks of strips in order, but those that are finished.

    Tiles without a pixel in ``area`` are left out; of the others the network sees all pixels, so
    that the area's own come out as they would without it.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
    """
    with ExitStack() as stack:
        readers = [
            stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="rsmeta-read"))
            for _ in range(READERS)
        ]
        for strip in strips:
            for block in strip.blocks():
                if block not in finished:
                    yield _read_block(readers, _Ground(scene, area), plan, strip, block)


def within(window: Window, origin: Window) -> Place:
    """Return the index of a window inside an array that starts at ``origin``."""
    row, col = int(window.row_off - origin.row_off), int(window.col_off - origin.col_off)
    return np.s_[row : row + int(window.height), col : col + int(window.width)]


@dataclass(frozen=True)
class _Ground:
    """A scene, and what of it is to be mapped."""

    scene: Scene
    area: Area | None

    def may_be_wanted(self, window: Window) -> bool:
        """Return false only where a window certainly holds no pixel to map."""
        meets = self.area is None or self.area.meets(self.scene.grid.crop(window))
        return meets and may_hold_data(self.scene, window)

    def wanted(self, valid: np.ndarray, window: Window) -> np.ndarray:
        """Return which pixels of a window are to be mapped, (h, w) bool."""
        if self.area is None or not valid.any():
            return valid
        inside: np.ndarray = valid & self.area.inside(self.scene.grid.crop(window))
        return inside

    def holds_wanted(self, window: Window) -> bool:
        """Return whether there is a pixel to map in a window, which is read for that."""
        if not self.may_be_wanted(window):
            return False
        return bool(self.wanted(self.scene.read(window).valid, window).any())


def _read_block(
    readers: _Readers, ground: _Ground, plan: TilePlan, strip: Strip, block: Window
) -> ReadBlock:
    origin, tiles = plan.extent(block), plan.tiles(block)
    homely = [tile for tile in tiles if strip.is_home(tile, block)]
    if not ground.may_be_wanted(block):
        skipped = len(homely)
        if ground.may_be_wanted(origin):
            skipped -= sum(ground.holds_wanted(tile) for tile in homely)
        return ReadBlock(strip, block, origin, None, None, None, (), skipped)
    data, valid = _read(readers, ground.scene, origin)
    wanted = ground.wanted(valid, origin)
    full = tuple(tile for tile in tiles if wanted[within(tile, origin)].any())
    skipped = len(homely) - sum(strip.is_home(tile, block) for tile in full)
    of_block = wanted[within(block, origin)].copy()
    if not of_block.any():
        return ReadBlock(strip, block, origin, None, None, None, (), skipped)
    return ReadBlock(strip, block, origin, data, valid, of_block, full, skipped)


def _read(readers: _Readers, scene: Scene, window: Window) -> tuple[np.ndarray, np.ndarray]:
    _, _, height, width = whole_pixels(window)
    data = large_array((len(scene.bands), height, width), np.float32)
    valid = large_array((height, width), np.bool_)

    def read_part(part: Window) -> None:
        place = within(part, window)
        scene.read_into(part, data[:, *place], valid[place])

    parts = _parts(window, *scene.file_tile_px)
    for done in [readers[lane % len(readers)].submit(read_part, part) for lane, part in parts]:
        done.result()
    return data, valid


def _parts(window: Window, tile_height_px: int, tile_width_px: int) -> Iterator[tuple[int, Window]]:
    """Yield parts of a window that share no tile of the file, each with the number of its lane.

    A lane is a column of the file's tiles, or a row where tiles are as wide as the file. A lane is
    always read by the same thread: what its handle has decoded for one block, and GDAL not yet
    dropped, the next block begins with. Parts are so small that what is done with the pixels of
    one finds them in the processor's cache.
    """
    top, left, height, width = whole_pixels(window)
    rowwise = tile_width_px > _LONGEST_TILE_PX
    for col, right in _cuts(left, width, tile_width_px):
        for row, bottom in _cuts(top, height, tile_height_px):
            lane = row // _step(tile_height_px) if rowwise else col // _step(tile_width_px)
            yield lane, Window(col, row, right - col, bottom - row)


def _step(tile_px: int) -> int:
    return max(_PART_PX // tile_px, 1) * tile_px


def _cuts(start: int, length: int, tile_px: int) -> Iterable[tuple[int, int]]:
    """Cut a range where tiles of the file begin, about ``_PART_PX`` apart."""
    step = _step(tile_px)
    inner = range((start // step + 1) * step, start + length, step)
    return pairwise([start, *inner, start + length])
