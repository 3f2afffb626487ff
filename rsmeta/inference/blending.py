"""Third stage: overlapping tiles blended into blocks."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from rasterio.windows import Window

from rsmeta.geo.grid import whole_pixels
from rsmeta.inference.reading import within
from rsmeta.inference.scoring import OpenedBlock, ScoredTiles
from rsmeta.inference.spill_file import Slot, SpillFile

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from rsmeta.geo.blending_weights import Blend
    from rsmeta.geo.tiling import TilePlan, Turn
    from rsmeta.inference.reading import ReadBlock
    from rsmeta.inference.transfer import Transfer

    #: Number of a strip and a tile: neighbouring strips hold other parts of the tiles they share.
    _Key: TypeAlias = tuple[int, Window]


@dataclass(frozen=True)
class Block:
    """One finished block.

    Attributes:
        window: Its place in the map.
        scores: Blended scores, (K, h, w) float32, 0 where not valid; none: nothing is valid.
        valid: (h, w) bool; none likewise.
        tiles: Tiles that went through the network for it.
        skipped: Tiles without a valid pixel, which did not; each counts with one block.
    """

    window: Window
    scores: np.ndarray | None
    valid: np.ndarray | None
    tiles: int
    skipped: int


def blend_tiles(
    items: Iterable[OpenedBlock | ScoredTiles],
    plan: TilePlan,
    blend: Blend,
    *,
    network: Transfer,
    sums: Transfer,
    spill_folder: Path | None = None,
) -> Generator[Block, None, None]:
    """Yield the blocks in their order, blended.

    Each pixel sums its tiles row by row, whatever the blocks and batches were, so that it comes
    out the same to the last bit if its tiles do.

    Args:
        items: Blocks and scored tiles.
        plan: Where blocks and tiles lie.
        blend: How overlapping tiles are joined.
        network: Where the scored tiles are.
        sums: Where tiles wait, and are summed: there, or in main memory.
        spill_folder: Folder for sums that wait for the next row of blocks; none: the system's.
    """
    opened: deque[_Sum] = deque()
    waiting = _WaitingTiles(network, sums)
    with ExitStack() as stack:
        spill: SpillFile | None = None
        for item in items:
            if isinstance(item, OpenedBlock):
                opened.append(_Sum(item, plan, blend, sums))
                waiting.expect(item.block)
            else:
                if spill is None:
                    most = 4 * item.scores.shape[1] * plan.tile_px * plan.block_px
                    spill = stack.enter_context(SpillFile(spill_folder, most))
                waiting.put(item)
            while opened and opened[0].advance(waiting, spill):
                turn = opened[0].turn
                yield opened.popleft().block()
                waiting.forget(turn, spill)
            waiting.let_go()
            del item


@dataclass
class _Waiting:
    """A tile that some block has still to sum.

    Attributes:
        last: Turn of the last block that it touches.
        columns: First columns of those blocks across the strip that have not summed it yet.
        scores: (K, tile, tile); none before it has been through the network.
        is_view: Whether ``scores`` keeps the whole batch alive.
    """

    last: Turn
    columns: set[int]
    scores: Tensor | None = None
    is_view: bool = False


@dataclass(frozen=True)
class _Carried:
    """What a block has summed below its lower edge.

    Attributes:
        top: Row of the map where it begins.
        height: Its rows.
        tiles: The tiles in it.
        slot: Where the sums lie, (K, height, w).
    """

    top: int
    height: int
    tiles: frozenset[Window]
    slot: Slot


class _WaitingTiles:
    """Tiles, and sums for the next row of blocks, until those who need them have their turn."""

    def __init__(self, network: Transfer, sums: Transfer) -> None:
        self._network = network
        self._sums = sums
        self._tiles: dict[_Key, _Waiting] = {}
        self._views: list[_Waiting] = []
        self.carried: dict[tuple[int, int], _Carried] = {}

    def expect(self, block: ReadBlock) -> None:
        strip = block.strip
        for tile in block.tiles:
            key = strip.number, tile
            if key not in self._tiles:
                self._tiles[key] = _Waiting(strip.last_turn(tile), set(strip.columns(tile)))

    def put(self, batch: ScoredTiles) -> None:
        tiles = batch.scores
        if self._sums.device != self._network.device:
            tiles = torch.from_numpy(self._network.to_host(tiles))
        for key, scores in zip(batch.keys, tiles, strict=True):
            waiting = self._tiles[key]
            waiting.scores, waiting.is_view = scores, True
            self._views.append(waiting)

    def has(self, key: _Key) -> bool:
        waiting = self._tiles.get(key)
        return waiting is not None and waiting.scores is not None

    def take(self, key: _Key, column: int) -> Tensor:
        """Return a tile's scores to the blocks of one column, which will not ask again."""
        waiting = self._tiles[key]
        scores = torch.as_tensor(waiting.scores)
        waiting.columns.discard(column)
        if not waiting.columns:
            waiting.scores, waiting.is_view = None, False
        return scores

    def let_go(self) -> None:
        """Keep copies of what is a view: a whole batch would stay for a few tiles."""
        for waiting in self._views:
            if waiting.is_view and waiting.scores is not None:
                waiting.scores, waiting.is_view = self._sums.kept(waiting.scores), False
        self._views = []

    def forget(self, turn: Turn, spill: SpillFile | None) -> None:
        """Drop what no block after a turn touches."""
        self._tiles = {key: tile for key, tile in self._tiles.items() if tile.last > turn}
        for key in [key for key in self.carried if key[0] < turn[0]]:
            carried = self.carried.pop(key)
            if spill is not None:
                spill.drop(carried.slot)


class _Sum:
    """Sums up one block, and what its tiles add below it."""

    def __init__(self, opened: OpenedBlock, plan: TilePlan, blend: Blend, sums: Transfer) -> None:
        self._opened = opened
        self._plan = plan
        self._blend = blend
        self._sums = sums
        self._window = opened.block.window
        self._summed: set[Window] = set()
        self._missing: deque[Window] | None = None
        self._total: Tensor | None = None
        self.turn = opened.block.strip.turn(opened.block.window)

    @torch.inference_mode()
    def advance(self, waiting: _WaitingTiles, spill: SpillFile | None) -> bool:
        """Add the tiles that are there, in order; return whether none is missing.

        Called when all blocks before it are finished.
        """
        if not self._opened.block.tiles:
            return True
        if self._missing is None and not self._begin(waiting, spill):
            return False
        missing = self._missing or deque()
        while missing and waiting.has(key := (self.turn[0], missing[0])):
            self._add(missing.popleft(), waiting.take(key, self.turn[2]))
        if not missing and spill is not None:
            self._carry(waiting, spill)
        return not missing

    def _begin(self, waiting: _WaitingTiles, spill: SpillFile | None) -> bool:
        """Start from what the blocks above have summed; return false before anything is scored."""
        if spill is None:
            return False
        block = self._opened.block
        top, left, height, width = whole_pixels(block.window)
        bottom = max(int(tile.row_off + tile.height) for tile in block.tiles)
        carried = waiting.carried.pop(self.turn[::2], None)
        if carried is not None and carried.top + carried.height <= top:
            spill.drop(carried.slot)
            carried = None
        if carried is not None:
            self._summed = set(carried.tiles)
            bottom = max(bottom, carried.top + carried.height)
        end = min(bottom, int(block.strip.window.row_off + block.strip.window.height))
        self._window = Window(left, top, width, max(height, end - top))
        if carried is not None:
            above = spill.take(carried.slot)[:, top - carried.top :]
            self._zeros(len(above))[:, : above.shape[1]] = above.to(self._sums.device)
        self._missing = deque(tile for tile in block.tiles if tile not in self._summed)
        return True

    def _zeros(self, classes: int) -> Tensor:
        shape = classes, int(self._window.height), int(self._window.width)
        self._total = self._sums.zeros(shape)
        return self._total

    def _add(self, tile: Window, scores: Tensor) -> None:
        total = self._zeros(len(scores)) if self._total is None else self._total
        shared = tile.intersection(self._window)
        here, there = within(shared, self._window), within(shared, tile)
        rows, cols = (
            axis[part]
            for axis, part in zip(self._plan.weights(tile, self._blend), there, strict=True)
        )
        self._sums.add_weighted(total[:, *here], scores[:, *there], rows, cols)
        self._summed.add(tile)

    def _carry(self, waiting: _WaitingTiles, spill: SpillFile) -> None:
        """Leave what lies below the block to the next one in its column."""
        window = self._opened.block.window
        bottom = int(window.row_off + window.height)
        below = int(self._window.height - window.height)
        if below and self._total is not None:
            tiles = frozenset(t for t in self._summed if t.row_off + t.height > bottom)
            slot = spill.put(self._total[:, int(window.height) :])
            waiting.carried[self.turn[::2]] = _Carried(bottom, below, tiles, slot)

    def block(self) -> Block:
        """Return the finished block."""
        opened, scores = self._opened, None
        if self._total is not None and opened.valid is not None:
            scores = self._sums.to_host(self._total[:, : len(opened.valid)])
            if not opened.valid.all():
                scores[:, ~opened.valid] = 0
        return Block(
            opened.block.window, scores, opened.valid, opened.computed, opened.block.skipped
        )
