"""Run a network for whole images over a scene: one result per cell, each from its own tile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from rsmeta.inference.blending import Block
from rsmeta.inference.reading import within
from rsmeta.inference.scoring import Scorer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from rasterio.windows import Window

    from rsmeta.geo.cells import CellPlan
    from rsmeta.geo.scene import Scene
    from rsmeta.inference.flow import Flow
    from rsmeta.inference.scoring import Model


@dataclass(frozen=True)
class _Ground:
    """A block of cells with the pixels that its tiles need."""

    block: Window
    window: Window
    data: np.ndarray
    valid: np.ndarray


def run_cells(
    model: Model,
    scene: Scene,
    plan: CellPlan,
    *,
    flow: Flow,
    blocks: Iterable[Window] | None = None,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> Iterator[Block]:
    """Yield blocks of cells; reading and computing run ahead of who takes them.

    A cell is valid where a pixel of its own ground is.

    Args:
        model: Maps images in physical units to scores (B, K).
        scene: The scene, with the model's bands selected.
        plan: Cells, tiles and blocks.
        flow: Runs the threads, and ends them with its context.
        blocks: Those of the plan to compute, in this order; none: all.
        batch_size: Tiles through the model at once.
        device: Where the model is.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
        RsmetaError: The device has not enough memory for one tile.
    """
    scorer = Scorer(model, torch.device(device), batch_size)
    wanted = plan.blocks() if blocks is None else blocks
    read = flow.ahead("reading", _read(scene, plan, wanted), 1)
    yield from flow.ahead("computing", _score(read, plan, scorer), 1)


def _read(scene: Scene, plan: CellPlan, blocks: Iterable[Window]) -> Generator[_Ground, None, None]:
    def ground(block: Window) -> _Ground:
        window = plan.ground(block)
        chip = scene.read(window)
        return _Ground(block, window, chip.data, chip.valid)

    yield from map(ground, blocks)


def _score(
    grounds: Iterable[_Ground], plan: CellPlan, scorer: Scorer
) -> Generator[Block, None, None]:
    yield from map(partial(_block, plan=plan, scorer=scorer), grounds)


def _block(ground: _Ground, *, plan: CellPlan, scorer: Scorer) -> Block:
    valid = _valid_cells(ground, plan)
    places = np.argwhere(valid)
    skipped = valid.size - len(places)
    if not len(places):
        return Block(ground.block, None, None, 0, skipped)
    found = np.concatenate(
        [
            _scores(ground, plan, places[start : start + scorer.batch_size], scorer)
            for start in range(0, len(places), scorer.batch_size)
        ]
    )
    scores = np.zeros((found.shape[1], *valid.shape), dtype=np.float32)
    scores[:, valid] = found.T
    return Block(ground.block, scores, valid, len(places), skipped)


def _scores(ground: _Ground, plan: CellPlan, places: np.ndarray, scorer: Scorer) -> np.ndarray:
    """Return the scores (N, K) of cells of a block, given by row and column in it."""
    row, col = int(ground.block.row_off), int(ground.block.col_off)
    tiles = [within(plan.tile(row + int(r), col + int(c)), ground.window) for r, c in places]
    image = np.stack([ground.data[:, *tile] for tile in tiles])
    valid = np.stack([ground.valid[tile] for tile in tiles])
    scores: np.ndarray = scorer(image, valid).cpu().numpy()
    return scores


def _valid_cells(ground: _Ground, plan: CellPlan) -> np.ndarray:
    """Return which cells of a block have a valid pixel on their own ground that a tile sees."""
    valid = np.zeros((int(ground.block.height), int(ground.block.width)), dtype=bool)
    row, col = int(ground.block.row_off), int(ground.block.col_off)
    for r, c in np.ndindex(*valid.shape):
        seen = plan.seen(row + r, col + c)
        valid[r, c] = seen is not None and ground.valid[within(seen, ground.window)].any()
    return valid
