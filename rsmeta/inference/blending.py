"""Third stage: overlapping tiles blended into blocks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from rsmeta.inference.reading import within
from rsmeta.inference.scoring import OpenedBlock, ScoredTiles

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import numpy as np
    from rasterio.windows import Window
    from torch import Tensor

    from rsmeta.geo.tiling import Blend, TilePlan, Turn

    #: Number of a strip and a tile: neighbouring strips hold other parts of the tiles they share.
    _Key: TypeAlias = tuple[int, Window]


@dataclass(frozen=True)
class Block:
    """One finished block.

    Attributes:
        window: Its place in the scene, in pixels.
        scores: Blended scores, (K, h, w) float32, 0 where not valid; none: nothing is valid.
        valid: (h, w) bool; none likewise.
        tiles: Tiles that went through the network for its sake.
        skipped: Tiles without a valid pixel, which did not; each counts with one block.
    """

    window: Window
    scores: np.ndarray | None
    valid: np.ndarray | None
    tiles: int
    skipped: int


def blend_tiles(
    items: Iterable[OpenedBlock | ScoredTiles], plan: TilePlan, blend: Blend, where: torch.device
) -> Generator[Block, None, None]:
    """Yield the blocks in their order, blended.

    Each pixel sums its tiles row by row, whatever the blocks and batches were, so that it comes
    out the same to the last bit if its tiles do.

    Args:
        items: Blocks and scored tiles.
        plan: Where blocks and tiles lie.
        blend: How overlapping tiles are joined.
        where: Device that holds the tiles which are waited with, and the sums.
    """
    opened: deque[_Sum] = deque()
    scores: dict[_Key, _Scores] = {}
    last: dict[_Key, Turn] = {}
    for item in items:
        if isinstance(item, OpenedBlock):
            opened.append(_Sum(item, plan, blend, where))
            strip = item.block.strip
            last |= {(strip.number, t): strip.last_turn(t) for t in item.block.tiles}
        else:
            moved = item.scores.to(where)
            # A clone each: one tile that is kept must not keep its batch.
            new = zip(item.keys, moved, strict=True)
            scores |= {key: _Scores(part.clone(), 0) for key, part in new}
        while opened and opened[0].advance(scores):
            finished = opened.popleft()
            turn = finished.turn
            last = {key: when for key, when in last.items() if when > turn}
            scores = {key: part for key, part in scores.items() if key in last}
            finished.let_go(scores)
            yield finished.block()


@dataclass(frozen=True)
class _Scores:
    """What is still needed of a tile's scores: (K, h, tile) from row ``top`` downwards."""

    values: Tensor
    top: int

    def below(self, row: int) -> _Scores:
        """Return only what lies from a row of the tile downwards."""
        return _Scores(self.values[:, row - self.top :].clone(), row)


class _Sum:
    """Sums up one block."""

    def __init__(
        self, opened: OpenedBlock, plan: TilePlan, blend: Blend, where: torch.device
    ) -> None:
        self._opened = opened
        self._plan = plan
        self._blend = blend
        self._where = where
        self._missing = deque(opened.block.tiles)
        self._total: Tensor | None = None
        self.turn = opened.block.strip.turn(opened.block.window)

    @torch.inference_mode()
    def advance(self, scores: dict[_Key, _Scores]) -> bool:
        """Add the tiles that are there, in order; return whether none is missing."""
        while self._missing and (key := (self.turn[0], self._missing[0])) in scores:
            self._add(self._missing.popleft(), scores[key])
        return not self._missing

    def let_go(self, scores: dict[_Key, _Scores]) -> None:
        """Keep of tiles that no other block in this row touches what the next row needs."""
        window, strip = self._opened.block.window, self._opened.block.strip.window
        bottom, right = window.row_off + window.height, window.col_off + window.width
        is_last = right == strip.col_off + strip.width
        for tile in self._opened.block.tiles:
            key = self.turn[0], tile
            if key in scores and (is_last or tile.col_off + tile.width <= right):
                scores[key] = scores[key].below(int(bottom - tile.row_off))

    def _add(self, tile: Window, scores: _Scores) -> None:
        window = self._opened.block.window
        if self._total is None:
            shape = (len(scores.values), int(window.height), int(window.width))
            self._total = torch.zeros(shape, device=self._where)
        shared = tile.intersection(window)
        here, there = within(shared, window), within(shared, tile)
        rows, cols = (
            torch.from_numpy(axis[part]).to(self._where)
            for axis, part in zip(self._plan.weights(tile, self._blend), there, strict=True)
        )
        part = scores.values[:, there[0].start - scores.top : there[0].stop - scores.top, there[1]]
        self._total[:, *here].addcmul_(part, rows[:, None] * cols)

    def block(self) -> Block:
        """Return the finished block."""
        opened, scores = self._opened, None
        if self._total is not None and opened.valid is not None:
            scores = self._total.cpu().numpy()
            scores[:, ~opened.valid] = 0
        return Block(
            opened.block.window, scores, opened.valid, opened.computed, opened.block.skipped
        )
