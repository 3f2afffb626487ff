"""Run a network over a scene: blocks -> tiles -> batches -> blended probabilities.

Every block recomputes the tiles that reach into it from one fixed grid, so its pixels do not
depend on how the scene was cut. Reading the next block overlaps computing this one. Memory is
set by the block, not by the scene.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from rsmeta.errors import RsmetaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rasterio.windows import Window
    from torch import Tensor

    from rsmeta.geo.chip import Chip
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import Blend, TilePlan

    #: (image (B, C, h, w) float32 physical, valid (B, h, w) bool) -> scores (B, K, h, w).
    Model: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Block:
    """One finished block.

    Attributes:
        window: Its place in the scene, in pixels.
        scores: Blended scores, (K, h, w) float32; 0 where not valid.
        valid: (h, w) bool.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel, which did not.
    """

    window: Window
    scores: np.ndarray
    valid: np.ndarray
    tiles: int
    skipped: int


def run_blocks(
    model: Model,
    scene: Scene,
    plan: TilePlan,
    *,
    blend: Blend = "cosine",
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    windows: Iterable[Window] | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a scene, computed.

    Args:
        model: Maps chips in physical units to scores, e.g. class probabilities.
        scene: The scene, with the model's bands selected.
        plan: Blocks and tiles of the scene.
        blend: How overlapping tiles are joined: ``cosine``, ``centre`` or ``none``.
        batch_size: Tiles through the model at once.
        device: Where the model is.
        windows: Blocks to compute; none: all of the plan.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
    """
    todo = list(plan.blocks() if windows is None else windows)
    with ThreadPoolExecutor(1, thread_name_prefix="rsmeta-read") as pool:
        ahead = deque(pool.submit(_read, scene, plan, window) for window in todo[:1])
        for i, window in enumerate(todo):
            tiles, chip, origin = ahead.popleft().result()
            ahead.extend(pool.submit(_read, scene, plan, next_) for next_ in todo[i + 1 : i + 2])
            yield _compute(
                model, chip, tiles, origin, window, plan=plan, blend=blend,
                batch_size=batch_size, device=torch.device(device),
            )  # fmt: skip


def _read(scene: Scene, plan: TilePlan, block: Window) -> tuple[list[Window], Chip, Window]:
    """Read, once, all that the tiles of a block need."""
    origin = plan.extent(block)
    return plan.tiles(block), scene.read(origin), origin


def _compute(
    model: Model,
    chip: Chip,
    tiles: Sequence[Window],
    origin: Window,
    block: Window,
    *,
    plan: TilePlan,
    blend: Blend,
    batch_size: int,
    device: torch.device,
) -> Block:
    full = [tile for tile in tiles if chip.valid[_within(tile, origin)].any()]
    shape = (int(block.height), int(block.width))
    scores: np.ndarray | None = None
    weights = np.zeros(shape, dtype=np.float32)
    for start in range(0, len(full), batch_size):
        batch = full[start : start + batch_size]
        out = _forward(model, chip, [_within(t, origin) for t in batch], device)
        if scores is None:
            scores = np.zeros((out.shape[1], *shape), dtype=np.float32)
        for tile, tile_scores in zip(batch, out, strict=True):
            here, there = _shared(tile, block)
            weight = plan.tile_weight(tile, blend)[there]
            scores[:, *here] += tile_scores[:, *there] * weight
            weights[here] += weight
    valid = chip.valid[_within(block, origin)]
    if scores is None:
        scores = np.zeros((0, *shape), dtype=np.float32)
    else:
        np.divide(scores, weights, out=scores, where=weights > 0)
        scores[:, ~valid] = 0
    return Block(block, scores, valid, len(full), len(tiles) - len(full))


@torch.inference_mode()
def _forward(
    model: Model, chip: Chip, places: Sequence[tuple[slice, slice]], device: torch.device
) -> np.ndarray:
    image = torch.from_numpy(np.stack([chip.data[:, *place] for place in places])).to(device)
    valid = torch.from_numpy(np.stack([chip.valid[place] for place in places])).to(device)
    try:
        out = model(image, valid)
    except torch.OutOfMemoryError:
        raise RsmetaError(
            f"the device ran out of memory at {len(places)} tiles at once; lower predict.batch_size"
        ) from None
    scores: np.ndarray = out.float().cpu().numpy()
    return scores


def _within(window: Window, origin: Window) -> tuple[slice, slice]:
    """Return the index of a window inside an array that starts at ``origin``."""
    row, col = int(window.row_off - origin.row_off), int(window.col_off - origin.col_off)
    return np.s_[row : row + int(window.height), col : col + int(window.width)]


def _shared(tile: Window, block: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where tile and block share pixels: the index in the block and in the tile."""
    shared = tile.intersection(block)
    return _within(shared, block), _within(shared, tile)
