"""First stage: the pixels of each block with all its tiles, read once."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from rasterio.windows import Window, intersect

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
        threads: How many decode a block side by side.
    """

    scene: Scene
    aoi: Aoi | None = None
    threads: int = 1

    def may_be_wanted(self, window: Window) -> bool:
        """Return false only where a window certainly holds no pixel to map."""
        meets = self.aoi is None or self.aoi.meets(self.scene.grid.crop(window))
        return meets and may_hold_data(self.scene, window)

    def wanted(self, valid: np.ndarray, window: Window) -> np.ndarray:
        """Return which pixels of a window are to be mapped: valid and inside, (h, w) bool."""
        inside = self.inside(window) if valid.any() else None
        return valid if inside is None else valid & inside

    def inside(self, window: Window) -> np.ndarray | None:
        """Return which pixels of a window are inside the area of interest; none: all are."""
        return None if self.aoi is None else self.aoi.inside(self.scene.grid.crop(window))

    def holds_wanted(self, window: Window) -> bool:
        """Return whether there is a pixel to map in a window, which may be read for that."""
        if not self.may_be_wanted(window):
            return False
        return bool(self.wanted(self.scene.read(window).valid, window).any())


@dataclass(frozen=True)
class Pixels:
    """Pixels around all tiles of a block.

    Attributes:
        origin: Their window of the map.
        data: Physical values, (C, h, w) float32.
        valid: (h, w) bool.
    """

    origin: Window
    data: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class ReadBlock:
    """A block as it was read; windows are those of the map.

    Attributes:
        strip: The strip that it belongs to.
        window: Its place.
        tiles: Tiles with a wanted pixel that touch it, row by row.
        skipped: Tiles without one that count with this block.
        pixels: Its pixels; none where the block has no wanted one.
        wanted: Of the block alone, which pixels are to be mapped, (h, w) bool; none likewise.
    """

    strip: Strip
    window: Window
    tiles: tuple[Window, ...]
    skipped: int
    pixels: Pixels | None = None
    wanted: np.ndarray | None = None

    def whole(self) -> ReadBlock:
        """Return it, as a block that was begun does when all of it is read."""
        return self

    def without_pixels(self) -> ReadBlock:
        """Return where it lies and what it needs, alone."""
        return replace(self, pixels=None, wanted=None)


@dataclass(frozen=True)
class BegunBlock:
    """A block that threads are reading; its first tiles are there before the others.

    Attributes:
        strip: The strip that it belongs to.
        window: Its place.
        plan: Where its tiles lie.
        pixels: What is being filled in.
        inside: Pixels inside the area of interest, (h, w) bool; none: all are.
        parts: Parts of the pixels, by their windows, and who reads them.
    """

    strip: Strip
    window: Window
    plan: TilePlan
    pixels: Pixels
    inside: np.ndarray | None
    parts: tuple[tuple[Window, Future[None]], ...]

    def early_tiles(self) -> Iterator[Window]:
        """Yield the first of the block's tiles, each when it is read, until the whole block is.

        Raises:
            SceneUnreadableError: The scene cannot be read to its end.
        """
        held: list[Window] = []  # until the block is known to have a wanted pixel, and so tiles
        is_wanted = False
        for tile in self.plan.tiles(self.window):
            if all(read.done() for _, read in self.parts):
                return
            self._wait_for(tile)
            if self._wanted(tile).any():
                held.append(tile)
                is_wanted = is_wanted or bool(self._wanted(tile.intersection(self.window)).any())
            if is_wanted:
                yield from held
                held = []

    def whole(self) -> ReadBlock:
        """Return the block when all of it is read.

        Raises:
            SceneUnreadableError: The scene cannot be read to its end.
        """
        self._wait_for(self.pixels.origin)
        tiles, strip, window = self.plan.tiles(self.window), self.strip, self.window
        full = tuple(tile for tile in tiles if self._wanted(tile).any())
        skipped = _count(self.plan, tiles, window) - _count(self.plan, full, window)
        of_block = self._wanted(window).copy()
        if not of_block.any():
            return ReadBlock(strip, window, (), skipped)
        return ReadBlock(strip, window, full, skipped, self.pixels, of_block)

    def _wanted(self, window: Window) -> np.ndarray:
        place = within(window, self.pixels.origin)
        valid = self.pixels.valid[place]
        return valid if self.inside is None else valid & self.inside[place]

    def _wait_for(self, window: Window) -> None:
        for part, read in self.parts:
            if intersect(part, window):
                read.result()


def read_blocks(
    reader: SceneReader, plan: TilePlan, strips: Iterable[Strip]
) -> Generator[BegunBlock | ReadBlock, None, None]:
    """Yield the blocks of strips in order.

    The first one is given as soon as it is begun, so that nobody waits for all of it. Tiles
    without a wanted pixel are left out; of the others the network sees all pixels, so that an area
    of interest comes out as it would without it.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
    """
    with ExitStack() as stack:
        threads = [
            stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="rsmeta-read"))
            for _ in range(reader.threads)
        ]
        early = True
        for strip in strips:
            for block in strip.blocks:
                begun = partial(_begun, threads, reader, plan, strip, block)
                # Nothing keeps a block here while it is used.
                yield begun(by_rows=True) if early else begun(by_rows=False).whole()
                if early:
                    _wait_for(threads)
                early = False


def within(window: Window, origin: Window) -> Place:
    """Return the index of a window inside an array that starts at ``origin``."""
    row, col = int(window.row_off - origin.row_off), int(window.col_off - origin.col_off)
    return np.s_[row : row + int(window.height), col : col + int(window.width)]


def _begun(
    threads: _Threads, reader: SceneReader, plan: TilePlan, strip: Strip, block: Window,
    *, by_rows: bool,
) -> BegunBlock | ReadBlock:  # fmt: skip
    """Begin to read a block, its upper rows first if need be; or return one without pixels."""
    origin, needed = plan.tiles_window(block), plan.read_window(block)
    if not reader.may_be_wanted(plan.in_scene(block)):
        counted = [tile for tile in plan.tiles(block) if plan.counts(tile, block)]
        skipped = len(counted)
        if reader.may_be_wanted(needed):
            skipped -= sum(reader.holds_wanted(plan.in_scene(tile)) for tile in counted)
        return ReadBlock(strip, block, (), skipped)
    _, _, height, width = whole_pixels(needed)
    data = large_array((len(reader.scene.bands), height, width), np.float32)
    valid = large_array((height, width), np.bool_)

    def read(part: Window) -> None:
        place = within(part, needed)
        reader.scene.read_into(part, data[:, *place], valid[place])

    lanes = _parts(needed, *reader.scene.file_tile_px)
    ordered = sorted(lanes, key=lambda lane: lane[1].row_off) if by_rows else lanes
    parts = tuple(
        (plan.in_map(part), threads[lane % len(threads)].submit(read, part))
        for lane, part in ordered
    )
    pixels = Pixels(origin, data, valid)
    return BegunBlock(strip, block, plan, pixels, reader.inside(needed), parts)


def _wait_for(threads: _Threads) -> None:
    for done in [thread.submit(int) for thread in threads]:
        done.result()


def _count(plan: TilePlan, tiles: Iterable[Window], block: Window) -> int:
    return sum(plan.counts(tile, block) for tile in tiles)


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
