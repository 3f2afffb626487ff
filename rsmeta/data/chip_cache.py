"""Chips out of decoded blocks: each place of a scene is read once, however often it is drawn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeAlias

import torch
from rasterio.windows import Window
from torch import Tensor

from rsmeta.data.packing import Packing, pack, unpack
from rsmeta.errors import RsmetaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Layers of a window by name, (…, H, W) each.
Sample: TypeAlias = dict[str, Tensor]

#: Side of a block, pixels.
BLOCK_PX = 128


class ChipCache:
    """Keeps blocks of samples in memory; once it is full, what is not in it is read by window.

    Nothing makes room for later blocks: chips are drawn at random, so that as many are found as if
    the oldest went, and no block is decoded twice. Forked processes start with what was kept
    before, others with nothing. When blocks as they are used no longer fit, all are packed: less
    than half the memory, and a little more work for each chip.

    Args:
        limit_bytes: Memory that the blocks may take.
        packings: How the blocks of each scene can be packed; none: as class indices alone.

    Attributes:
        nbytes: Memory that they take.
        full: Whether nothing more is kept.
    """

    def __init__(self, limit_bytes: int, packings: Sequence[Packing | None] = ()) -> None:
        self.limit_bytes = limit_bytes
        self.packings = tuple(packings)
        self.nbytes = 0
        self.full = limit_bytes <= 0
        self._packs = False
        self._blocks: dict[tuple[int, int, int], Sample] = {}
        self._lock = threading.Lock()  # batches of training and of meta steps are read side by side

    def __reduce__(self) -> tuple[type[ChipCache], tuple[int, tuple[Packing | None, ...]]]:
        return ChipCache, (self.limit_bytes, self.packings)

    def _packing(self, scene: int) -> Packing | None:
        return self.packings[scene] if scene < len(self.packings) else None

    def read(
        self, scene: int, row: int, col: int, side_px: int, read: Callable[[Window], Sample]
    ) -> Sample:
        """Return the sample of a square window, as ``read`` would.

        Args:
            scene: Number of the scene.
            row: First row; may lie outside the scene, as the others may.
            col: First column.
            side_px: Side of the window.
            read: Reads any window of that scene.
        """
        with self._lock:
            return self._read(scene, row, col, side_px, read)

    def _read(
        self, scene: int, row: int, col: int, side_px: int, read: Callable[[Window], Sample]
    ) -> Sample:
        rows, cols = list(_spans(row, side_px)), list(_spans(col, side_px))
        places = [(scene, r, c) for r, _ in rows for c, _ in cols]
        if all(place in self._blocks for place in places):
            return self._joined(scene, rows, cols)
        window = Window(col, row, side_px, side_px)
        if self.full:
            return read(window)
        (_, top, left), height, width = places[0], len(rows) * BLOCK_PX, len(cols) * BLOCK_PX
        try:
            around = read(Window(left * BLOCK_PX, top * BLOCK_PX, width, height))
        except RsmetaError:  # a file may be damaged outside the window
            return read(window)
        for place in places:
            down, right = (place[1] - top) * BLOCK_PX, (place[2] - left) * BLOCK_PX
            self._keep(place, _cut(around, down, right, BLOCK_PX))
        return _cut(around, row - top * BLOCK_PX, col - left * BLOCK_PX, side_px)

    def _keep(self, place: tuple[int, int, int], block: Sample) -> None:
        if place in self._blocks or self.full:
            return
        kept = {name: layer.clone() for name, layer in block.items()}
        if not self._packs and self.nbytes + _nbytes(kept) > self.limit_bytes:
            self._packs = True
            for other, one in self._blocks.items():
                self._blocks[other] = pack(one, self._packing(other[0]))
            self.nbytes = sum(map(_nbytes, self._blocks.values()))
        if self._packs:
            kept = pack(kept, self._packing(place[0]))
        self.full = self.nbytes + _nbytes(kept) > self.limit_bytes
        if not self.full:
            self._blocks[place] = kept
            self.nbytes += _nbytes(kept)

    def _joined(
        self, scene: int, rows: list[tuple[int, slice]], cols: list[tuple[int, slice]]
    ) -> Sample:
        """Return parts of blocks, side by side and below one another, as one."""
        parts = [
            [_part(self._blocks[scene, r, c], down, right) for c, right in cols] for r, down in rows
        ]
        packing = self._packing(scene)
        alike = len({tuple(v.dtype for v in part.values()) for s in parts for part in s}) == 1
        if not alike:  # some could not be packed
            parts = [[unpack(part, packing) for part in strip] for strip in parts]
        joined = {
            name: torch.cat([torch.cat([part[name] for part in strip], -1) for strip in parts], -2)
            for name in parts[0][0]
        }
        return unpack(joined, packing) if self._packs and alike else joined


def _nbytes(block: Sample) -> int:
    return sum(layer.nbytes for layer in block.values())


def _part(block: Sample, down: slice, right: slice) -> Sample:
    return {name: layer[..., down, right] for name, layer in block.items()}


def _spans(start: int, side_px: int) -> Iterator[tuple[int, slice]]:
    """Yield the blocks along one side of a window, with what of each is in it."""
    for block in range(start // BLOCK_PX, (start + side_px - 1) // BLOCK_PX + 1):
        first = start - block * BLOCK_PX
        yield block, slice(max(first, 0), min(first + side_px, BLOCK_PX))


def _cut(around: Sample, row: int, col: int, side_px: int) -> Sample:
    """Return a square of a sample."""
    return {
        name: layer[..., row : row + side_px, col : col + side_px] for name, layer in around.items()
    }
