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

    from rsmeta.geo.aoi import Area
    from rsmeta.geo.patches import PatchPlan
    from rsmeta.geo.scene import Scene
    from rsmeta.inference.pipeline import Pipeline
    from rsmeta.inference.scoring import Model


@dataclass(frozen=True)
class _Ground:
    """A block of cells with the pixels that its tiles need.

    Attributes:
        block: Its cells.
        window: Its pixels in the scene.
        data: Physical values, (C, h, w) float32; none where no pixel is wanted.
        valid: Which of them there are, (h, w) bool.
        wanted: Valid ones inside the area of interest, (h, w) bool.
    """

    block: Window
    window: Window
    data: np.ndarray | None
    valid: np.ndarray
    wanted: np.ndarray


def run_cells(
    model: Model,
    scene: Scene,
    plan: PatchPlan,
    *,
    flow: Pipeline,
    blocks: Iterable[Window] | None = None,
    area: Area | None = None,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> Iterator[Block]:
    """Yield blocks of cells; reading and computing run ahead of who takes them.

    A cell is valid where a pixel of its own ground is, inside ``area``; the network sees all pixels
    of its tile, so that a cell comes out as it would without an area.

    Args:
        model: Maps images in physical units to scores (B, K).
        scene: The scene, with the model's bands selected.
        plan: Cells, tiles and blocks.
        flow: Runs the threads, and ends them with its context.
        blocks: Those of the plan to compute, in this order; none: all.
        area: Cells without a pixel inside are not mapped.
        batch_size: Tiles through the model at once.
        device: Where the model is.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
        RsmetaError: The device has not enough memory for one tile.
    """
    scorer = Scorer(model, torch.device(device), batch_size)
    wanted = plan.blocks() if blocks is None else blocks
    read = flow.ahead("reading", _read(scene, plan, wanted, area), 1)
    yield from flow.ahead("computing", _score(read, plan, scorer), 1)


def _read(
    scene: Scene, plan: PatchPlan, blocks: Iterable[Window], area: Area | None
) -> Generator[_Ground, None, None]:
    def ground(block: Window) -> _Ground:
        window = plan.ground(block)
        grid = scene.grid.crop(window)
        if area is not None and not area.meets(grid):
            none = np.zeros(grid.shape, dtype=bool)
            return _Ground(block, window, None, none, none)
        chip = scene.read(window)
        wanted = chip.valid if area is None else chip.valid & area.inside(grid)
        return _Ground(block, window, chip.data, chip.valid, wanted)

    yield from map(ground, blocks)


def _score(
    grounds: Iterable[_Ground], plan: PatchPlan, scorer: Scorer
) -> Generator[Block, None, None]:
    yield from map(partial(_block, plan=plan, scorer=scorer), grounds)


def _block(ground: _Ground, *, plan: PatchPlan, scorer: Scorer) -> Block:
    valid = _wanted_cells(ground, plan)
    places = np.argwhere(valid)
    skipped = valid.size - len(places)
    if ground.data is None or not len(places):
        return Block(ground.block, None, None, 0, skipped)
    found = np.concatenate(
        [
            _scores(ground, ground.data, plan, places[start : start + scorer.batch_size], scorer)
            for start in range(0, len(places), scorer.batch_size)
        ]
    )
    scores = np.zeros((found.shape[1], *valid.shape), dtype=np.float32)
    scores[:, valid] = found.T
    return Block(ground.block, scores, valid, len(places), skipped)


def _scores(
    ground: _Ground, data: np.ndarray, plan: PatchPlan, places: np.ndarray, scorer: Scorer
) -> np.ndarray:
    """Return the scores (N, K) of cells of a block, given by row and column in it."""
    row, col = int(ground.block.row_off), int(ground.block.col_off)
    tiles = [within(plan.tile(row + int(r), col + int(c)), ground.window) for r, c in places]
    image = np.stack([data[:, *tile] for tile in tiles])
    valid = np.stack([ground.valid[tile] for tile in tiles])
    scores: np.ndarray = scorer(image, valid).cpu().numpy()
    return scores


def _wanted_cells(ground: _Ground, plan: PatchPlan) -> np.ndarray:
    """Return which cells of a block have a wanted pixel on their own ground that a tile sees."""
    cells = np.zeros((int(ground.block.height), int(ground.block.width)), dtype=bool)
    row, col = int(ground.block.row_off), int(ground.block.col_off)
    for r, c in np.ndindex(*cells.shape):
        seen = plan.seen(row + r, col + c)
        cells[r, c] = seen is not None and ground.wanted[within(seen, ground.window)].any()
    return cells
