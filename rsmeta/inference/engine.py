"""Run a model over a scene by a plan: read -> score -> blend, each in a thread of its own.

The plan decides whether the model sees overlapping tiles, blended into pixels, or one tile per
cell. Whatever the free memory determines (side of a block, tiles at once, width of a strip, where
tiles are blended, how much GDAL keeps) is asked here. Memory is set by block and batch, not by the
scene.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.patches import PatchPlan
from rsmeta.geo.tiling import TilePlan
from rsmeta.inference import sizing
from rsmeta.inference.blending import Block, blend_tiles
from rsmeta.inference.lanes import threads_per_lane
from rsmeta.inference.model import ready
from rsmeta.inference.patches import read_patches, score_patches
from rsmeta.inference.pipeline import Pipeline
from rsmeta.inference.reading import SceneReader, read_blocks
from rsmeta.inference.scoring import Scorer, score_tiles
from rsmeta.inference.transfer import Transfer, transfer_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from rasterio.windows import Window

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.geo.aoi import Aoi
    from rsmeta.geo.blending_weights import Blend
    from rsmeta.geo.plan import MapPlan
    from rsmeta.geo.scene import Scene
    from rsmeta.inference.scoring import Model

__all__ = ["Block", "Engine", "ready_engine"]


class Engine:
    """Computes the blocks of maps with one model.

    Args:
        model: Maps chips in physical units to scores, e.g. class probabilities. On a CPU several
            threads call it at once.
        device: Where the model is.
        scores: Scores per pixel, or per image.
        blend: How overlapping tiles are joined.
        batch_size: Tiles per forward pass; none: chosen for the device. Where memory runs out it
            is halved, and stays so.

    Attributes:
        score: Scores a batch of any size, as ``run`` does: see ``Scorer``.
        seconds: Per stage, the time that the last ``run`` worked.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device | str = "cpu",
        *,
        scores: int,
        blend: Blend = "cosine",
        batch_size: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.batch_size = batch_size or sizing.choose_batch_size(self.device)
        self.score = Scorer(model, self.device, self.batch_size)
        self.seconds: dict[str, float] = {}
        self._scores = scores
        self._blend = blend

    def run(
        self,
        plan: MapPlan,
        blocks: Iterable[Window],
        scene: Scene,
        *,
        aoi: Aoi | None = None,
        spill_folder: Path | None = None,
    ) -> Generator[Block, None, None]:
        """Yield blocks of a map, computed ahead of the caller; close it to end all threads.

        Args:
            plan: Of tiles or of patches.
            blocks: Blocks of the plan to compute.
            scene: The scene, with the model's bands selected.
            aoi: Pixels outside are not mapped, and tiles without one inside not computed.
            spill_folder: Folder for what waits for the next row of blocks; none: the system's for
                temporary files.

        Raises:
            SceneUnreadableError: The scene cannot be read to its end.
            OutputError: ``spill_folder`` has no room.
            RsmetaError: The device has not enough memory for one tile.
        """
        reader = SceneReader(scene, aoi, sizing.choose_readers(self.device))
        lanes = sizing.choose_lanes(self.device) if isinstance(plan, TilePlan) else 1
        cache = bounded_cache(sizing.choose_cache_bytes(scene, plan))
        with threads_per_lane(lanes), Pipeline() as pipeline, cache:
            self.seconds = pipeline.seconds
            if isinstance(plan, PatchPlan):
                yield from self._patches(plan, blocks, reader, pipeline)
            elif isinstance(plan, TilePlan):
                yield from self._tiles(plan, blocks, reader, pipeline, lanes, spill_folder)
            else:
                raise TypeError(f"no way to compute {plan}")

    def _patches(
        self, plan: PatchPlan, blocks: Iterable[Window], reader: SceneReader, pipeline: Pipeline
    ) -> Iterator[Block]:
        read = pipeline.ahead("reading", read_patches(reader, plan, blocks), 1)
        return pipeline.ahead("computing", score_patches(read, plan, self.score), 1)

    def _tiles(
        self,
        plan: TilePlan,
        blocks: Iterable[Window],
        reader: SceneReader,
        pipeline: Pipeline,
        lanes: int,
        spill_folder: Path | None,
    ) -> Iterator[Block]:
        strips = plan.strips(blocks, blocks_wide=sizing.choose_strip_blocks(plan, self._scores))
        read = pipeline.ahead("reading", read_blocks(reader, plan, strips), 1)
        scored = pipeline.ahead("computing", score_tiles(read, self.score, lanes=lanes), 2)
        where = sizing.choose_blending(plan, self._scores, self.device)
        network = transfer_for(self.device)  # with a stream of its own, beside that of the scorer
        sums = network if where == self.device else Transfer()
        blended = blend_tiles(
            scored, plan, self._blend, network=network, sums=sums, spill_folder=spill_folder
        )
        return pipeline.ahead("blending", blended, 1)


@contextlib.contextmanager
def ready_engine(
    bundle: ModelBundle, record: BundleRecord, device: torch.device
) -> Iterator[Engine]:
    """Give an engine that maps with a bundle, by the settings of ``record``."""
    settings = record.predict
    batch_size = settings.batch_size or sizing.choose_batch_size(device, record.tile_px)
    with ready(bundle, record, device, batch_size=batch_size) as model:
        yield Engine(
            model, device, scores=record.output.scores, blend=settings.blend, batch_size=batch_size
        )


def choose_block_px(record: BundleRecord, device: torch.device, *, processes: int = 1) -> int:
    """Return the side of the blocks of a map, as set or by the memory that is free.

    Args:
        record: The model, with the settings to map with.
        device: Where it is.
        processes: How many share the memory.
    """
    return record.predict.block_px or sizing.choose_block_px(
        device, bands=len(record.bands), scores=record.output.scores, tile_px=record.tile_px,
        free_bytes=sizing.free_memory_bytes() // processes,
    )  # fmt: skip
