"""Run a network over a scene: read -> score -> blend, each in its own thread.

The tiles of a scene lie on one fixed grid and know nothing of blocks; every tile that touches a
block takes part in it, and is computed once per strip of blocks. Batches are filled across the
borders of blocks. Memory is set by block and batch, not by the scene: what waits for the next row
of blocks, and so grows with the width of a strip, waits in a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rsmeta.inference.blending import Block, blend_tiles
from rsmeta.inference.reading import read_blocks
from rsmeta.inference.scoring import Scorer, score_tiles

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

    from rasterio.windows import Window

    from rsmeta.geo.aoi import Area
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import Blend, Strip, TilePlan
    from rsmeta.inference.pipeline import Pipeline
    from rsmeta.inference.scoring import Model

__all__ = ["Block", "run_blocks"]


def run_blocks(
    model: Model,
    scene: Scene,
    plan: TilePlan,
    *,
    flow: Pipeline,
    strips: Iterable[Strip],
    finished: Container[Window] = (),
    area: Area | None = None,
    blend: Blend = "cosine",
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    blend_on: torch.device | str = "cpu",
    keep_in: Path | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a scene, computed some way ahead of who takes them.

    Args:
        model: Maps chips in physical units to scores, e.g. class probabilities.
        scene: The scene, with the model's bands selected.
        plan: Blocks and tiles of the scene.
        flow: Runs the threads, and ends them with its context.
        strips: Blocks to compute, of ``plan``.
        finished: Blocks to leave out.
        area: Pixels outside are not mapped, and tiles without one inside not computed.
        blend: How overlapping tiles are joined: ``cosine``, ``centre`` or ``none``.
        batch_size: Tiles through the model at once.
        device: Where the model is.
        blend_on: Where tiles are blended.
        keep_in: Folder for what waits for the next row of blocks; none: the system's for temporary
            files.

    Raises:
        SceneUnreadableError: The scene cannot be read to its end.
        OutputError: ``keep_in`` has no room.
        RsmetaError: The device has not enough memory for one tile.
    """
    scorer = Scorer(model, torch.device(device), batch_size)
    read = flow.ahead("reading", read_blocks(scene, plan, strips, finished=finished, area=area), 1)
    scored = flow.ahead("computing", score_tiles(read, scorer), 2)
    blended = blend_tiles(scored, plan, blend, where=torch.device(blend_on), keep_in=keep_in)
    yield from flow.ahead("blending", blended, 1)
