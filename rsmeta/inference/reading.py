"""First stage: the pixels of each block with all its tiles, read once."""

from __future__ import annotations

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
    from collections.abc import Generator, Iterable, Iterator

    from rsmeta.geo.aoi import Aoi
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import Strip, TilePlan

#: Side of what one thread reads at once: that of a tile that most files have.
_PART_PX = 512
#: A file with longer tiles than this counts as stored row by row.
_LONGEST_TILE_PX = 2048
#: Tells lanes of one row from those of the next.
_LANES_PER_ROW = 7

#: Pools of one thread each.
_Threads: TypeAlias = "list[ThreadPoolExecutor]"
#: Index of (rows, columns) in an array.
Place: TypeAlias = tuple[slice, slice]


@dataclass(frozen=True)
class SceneReader:
    """Reads a scene, and says which of its pixels are to be mapped.

    Attributes:
        scene: The scene, with the model's bands selected.
        aoi: Area of interest; none: everything.
    """

    scene: Scene
    aoi: Aoi | None = None

    def may_be_wanted(self, window: Window) -> bool:
        """Return false only where a window certainly holds no pixel to map."""
        meets = self.aoi is None or self.aoi.meets(self.scene.grid.crop(window))
        return meets and may_hold_data(self.scene, window)

    def wanted(self, valid: np.ndarray, window: Window) -> np.ndarray:
        """Return which pixels of a window are to be mapped: valid and inside, (h, w) bool."""
        if self.aoi is None or not valid.any():
            return valid
        inside: np.ndarray = valid & self.aoi.inside(self.scene.grid.crop(window))
        return inside

    def holds_wanted(self, window: Window) -> bool:
        """Return whether there is a pixel to map in a window, which may be read for that."""
        if not self.may_be_wanted(window):
            return False
        return bool(self.wanted(self.scene.read(window).valid, window).any())


@dataclass(frozen=True)
class ReadBlock:
    """A block as it was read; windows are those of the map.

    Attributes:
        strip: The strip that it belongs to.
        window: Its place.
        tiles: Tiles with a wanted pixel that touch it, row by row.
        skipped: Tiles without one that count with this block.
        origin: Place of ``data``: the window around all tiles; none where the block has no wanted
            pixel.
        data: Physical values, (C, h, w) float32; none likewise.
        valid: (h, w) bool; none likewise.
        wanted: Of the block alone, which pixels are to be mapped; none likewise.
    """

    strip: Strip
    window: Window
    tiles: tuple[Window, ...]
    skipped: int
    origin: Window | None = None
    data: np.ndarray | None = None
    valid: np.ndarray | None = None
    wanted: np.ndarray | None = None

    def without_pixels(self) -> ReadBlock:
        """Return where it lies and what it needs, alone."""
        return replace(self, data=None, valid=None, wanted=None)


def read_blocks(
    reader: SceneReader, plan: TilePlan, strips: Iterable[Strip], *, count: int
) -> Generator[ReadBlock, None, None]:
    """Yield the blocks of strips in order, read by ``count`` threads side by side.

    Tiles without a wanted pixel are left out; of the others the network sees all pixels, so that
    an area of interest comes out as it would without it.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
    """
    with ExitStack() as stack:
        threads = [
            stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="rsmeta-read"))
            for _ in range(count)
        ]
        for strip in strips:
            for block in strip.blocks:
                yield _read_block(threads, reader, plan, strip, block)


def within(window: Window, origin: Window) -> Place:
    """Return the index of a window inside an array that starts at ``origin``."""
    row, col = int(window.row_off - origin.row_off), int(window.col_off - origin.col_off)
    return np.s_[row : row + int(window.height), col : col + int(window.width)]


def _read_block(
    threads: _Threads, reader: SceneReader, plan: TilePlan, strip: Strip, block: Window
) -> ReadBlock:
    tiles = plan.tiles(block)
    counted = [tile for tile in tiles if plan.counts(tile, block)]
    origin, needed = plan.tiles_window(block), plan.read_window(block)
    if not reader.may_be_wanted(plan.in_scene(block)):
        skipped = len(counted)
        if reader.may_be_wanted(needed):
            skipped -= sum(reader.holds_wanted(plan.in_scene(tile)) for tile in counted)
        return ReadBlock(strip, block, (), skipped)
    data, valid = _read(threads, reader.scene, needed)
    wanted = reader.wanted(valid, needed)
    full = tuple(tile for tile in tiles if wanted[within(tile, origin)].any())
    skipped = len(counted) - sum(plan.counts(tile, block) for tile in full)
    of_block = wanted[within(block, origin)].copy()
    if not of_block.any():
        return ReadBlock(strip, block, (), skipped)
    return ReadBlock(strip, block, full, skipped, origin, data, valid, of_block)


def _read(threads: _Threads, scene: Scene, window: Window) -> tuple[np.ndarray, np.ndarray]:
    _, _, height, width = whole_pixels(window)
    data = large_array((len(scene.bands), height, width), np.float32)
    valid = large_array((height, width), np.bool_)

    def read_part(part: Window) -> None:
        place = within(part, window)
        scene.read_into(part, data[:, *place], valid[place])

    parts = _parts(window, *scene.file_tile_px)
    for done in [threads[lane % len(threads)].submit(read_part, part) for lane, part in parts]:
        done.result()
    return data, valid


def _parts(window: Window, tile_height_px: int, tile_width_px: int) -> Iterator[tuple[int, Window]]:
    """Yield parts of a window that share no tile of the file, each with the number of its lane.

    The same tile of a file is always in the same lane, and a lane is always read by the same
    thread: what its handle has decoded for one block, and GDAL not yet dropped, the next block
    begins with. Parts are so small that what is done with the pixels of one finds them in the
    processor's cache.
    """
    top, left, height, width = whole_pixels(window)
    rowwise = tile_width_px > _LONGEST_TILE_PX
    for col, right in _cuts(left, width, tile_width_px):
        for row, bottom in _cuts(top, height, tile_height_px):
            down, across = row // _step(tile_height_px), col // _step(tile_width_px)
            lane = down if rowwise else _LANES_PER_ROW * down + across
            yield lane, Window(col, row, right - col, bottom - row)


def _step(tile_px: int) -> int:
    return max(_PART_PX // tile_px, 1) * tile_px


def _cuts(start: int, length: int, tile_px: int) -> Iterable[tuple[int, int]]:
    """Cut a range where tiles of the file begin, about ``_PART_PX`` apart."""
    step = _step(tile_px)
    inner = range((start // step + 1) * step, start + length, step)
    return pairwise([start, *inner, start + length])
