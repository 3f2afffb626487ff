"""Map one scene with a model that is ready: compute, write, publish."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rsmeta.files import partial_folder
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.journal import read_begun_with
from rsmeta.gis.outputs.raster_spec import MapSpec
from rsmeta.gis.outputs.rasters import journal_file, writing
from rsmeta.inference import sizing
from rsmeta.inference.cells import run_cells
from rsmeta.inference.engine import run_blocks
from rsmeta.inference.pipeline import Pipeline
from rsmeta.workflows.mapping.executors import BlockTask, Cluster
from rsmeta.workflows.mapping.progress import Progress, told_to
from rsmeta.workflows.mapping.request import plan_for, resume_fingerprint
from rsmeta.workflows.mapping.sidecars import origin_of, tags_of, write_rest
from rsmeta.workflows.mapping.worker import Work, shifted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from rsmeta.geo.grid import Grid
    from rsmeta.geo.patches import PatchPlan
    from rsmeta.geo.tiling import TilePlan
    from rsmeta.gis.outputs.blocks import MadeBlock
    from rsmeta.gis.outputs.map_statistics import MapStatistics, Statistics
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.outputs.rasters import ProductWriter
    from rsmeta.inference.engine import Block
    from rsmeta.inference.scoring import Model
    from rsmeta.workflows.mapping.request import MapRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictResult:
    """What mapping one scene came to.

    Attributes:
        scene: The scene, as it was given.
        products: The files written.
        grid: Their grid.
        status: ``kept``: an earlier run had finished it, and nothing is known but the files.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel.
        class_pixels: Mapped pixels per class name.
        class_areas_m2: Their area likewise; empty for a scene without CRS.
        statistics: Of the numbers, where the model gives numbers.
        seconds: Wall time.
        stages: Seconds of work per stage; ``waiting`` is what writing waited for the others.
        block_px: Side of a block.
        batch_size: Tiles at once, as they were begun with.
    """

    scene: str
    products: Products
    grid: Grid
    status: Literal["mapped", "kept"] = "mapped"
    tiles: int = 0
    skipped: int = 0
    class_pixels: dict[str, int] = field(default_factory=dict)
    class_areas_m2: dict[str, float] = field(default_factory=dict)
    statistics: Statistics | None = None
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    block_px: int | None = None
    batch_size: int | None = None

    @property
    def outputs(self) -> dict[str, str]:
        """Where the files are, by the name of the product."""
        return {name: output.destination for name, output in self.products.outputs.items()}


def map_scene(
    model: Model | Cluster, job: MapRequest, on_progress: Callable[[Progress], None] | None = None
) -> PredictResult:
    """Map one scene.

    Args:
        model: Gives class probabilities, on the job's device; or computes them elsewhere.
        job: What to map.
        on_progress: Called after each block, and while polygons are made.

    Raises:
        RsmetaError: The scene cannot be read to its end, or the map not be written.
    """
    if job.is_done:
        return PredictResult(job.scene.name, job.products, job.grid, "kept")
    started = time.monotonic()
    plan = _plan(job)
    made = datetime.now(UTC)
    look = MapSpec(
        job.record.output,
        job.record.classes,
        tags_of(job.scene, job.record, made),
        job.products.probabilities_type,
    )
    stages: dict[str, float] = {}
    try:
        with bounded_cache(sizing.choose_cache_bytes(job.scene, plan)), writing(
            job.products, job.grid, look, resume_fingerprint=resume_fingerprint(job, plan.block_px),
            overwrite=job.overwrite or job.resume, resume=job.resume,
        ) as writer:  # fmt: skip
            stages |= _write_blocks(model, job, plan, writer, on_progress)
            finishing = time.monotonic()
            tell = told_to(
                on_progress, "polygons", scene=job.scene.name, total_px=math.prod(job.grid.shape)
            )
            write_rest(job, writer, origin_of([job], made), tell)
    except KeyboardInterrupt:
        if any(partial_folder(path).exists() for path in job.products.paths):
            logger.warning("what is finished is kept; go on with --resume")
        raise
    stages["finishing"] = time.monotonic() - finishing
    return _result(job, writer.tally, stages, plan.block_px, time.monotonic() - started)


def _plan(job: MapRequest) -> TilePlan:
    begun = read_begun_with(journal_file(job.products)) if job.resume else None
    begun_px = None if begun is None else int(begun["setting"]["block_px"])
    return plan_for(job.scene, job.record, job.device, begun_px=begun_px)


def _batch_size(job: MapRequest) -> int:
    return job.record.predict.batch_size or sizing.choose_batch_size(job.device)


def _write_blocks(
    model: Model | Cluster,
    job: MapRequest,
    plan: TilePlan,
    writer: ProductWriter,
    on_progress: Callable[[Progress], None] | None,
) -> dict[str, float]:
    """Write what is not finished; return the seconds of each stage."""
    watch, writing_s = _Watch(job, writer), 0.0
    begun = time.perf_counter()
    with Pipeline() as flow:
        if isinstance(model, Cluster):
            cut = plan if job.record.per == "pixel" else job.cells(plan.block_px)
            task = BlockTask(Work(job.scene, cut, job.extent, job.area), writer.maker)
            blocks = model.blocks(task, writer.finished)
        else:
            blocks = _computed_here(model, job, plan, writer, flow)
        with contextlib.closing(blocks):
            for block in blocks:
                started = time.perf_counter()
                writer.write(block)
                writing_s += time.perf_counter() - started
                if on_progress:
                    on_progress(watch.progress())
                del block
        waited_s = flow.waited_s or time.perf_counter() - begun - writing_s
        return {**flow.seconds, "writing": writing_s, "waiting": waited_s}


def _computed_here(
    model: Model, job: MapRequest, plan: TilePlan, writer: ProductWriter, flow: Pipeline
) -> Generator[MadeBlock, None, None]:
    blocks = (
        _pixels(model, job, plan, writer, flow)
        if job.record.per == "pixel"
        else _cells(model, job, job.cells(plan.block_px), writer, flow)
    )
    for block in blocks:
        yield writer.maker.made(
            block.scores, block.valid, block.window, tiles=block.tiles, skipped=block.skipped
        )
        del block


def _pixels(
    model: Model, job: MapRequest, plan: TilePlan, writer: ProductWriter, flow: Pipeline
) -> Iterator[Block]:
    """Yield blocks of pixels, in places of the map."""
    classes = job.record.output.scores
    blocks = run_blocks(
        model, job.scene, plan, flow=flow,
        strips=plan.strips(job.extent, strip_blocks=sizing.choose_strip_blocks(plan, classes)),
        finished={shifted(window, job.extent, 1) for window in writer.finished},
        area=job.area, blend=job.record.predict.blend,
        batch_size=_batch_size(job), device=job.device,
        blend_on=sizing.choose_blending(plan, classes, job.device),
        keep_in=partial_folder(job.products.files["map"]),
    )  # fmt: skip

    def placed(block: Block) -> Block:
        return replace(block, window=shifted(block.window, job.extent, -1))

    return map(placed, blocks)


def _cells(
    model: Model, job: MapRequest, plan: PatchPlan, writer: ProductWriter, flow: Pipeline
) -> Iterator[Block]:
    """Yield blocks of cells, in places of the map."""
    return run_cells(
        model, job.scene, plan, flow=flow,
        blocks=(block for block in plan.blocks() if block not in writer.finished), area=job.area,
        batch_size=_batch_size(job), device=job.device,
    )  # fmt: skip


class _Watch:
    """Sees how fast a map grows."""

    def __init__(self, job: MapRequest, writer: ProductWriter) -> None:
        self._job = job
        self._writer = writer
        self._started = time.monotonic()
        self._before_px = self._done_px()

    def progress(self) -> Progress:
        done, tally = self._done_px(), self._writer.tally
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (done - self._before_px) / seconds
        total = math.prod(self._job.grid.shape)
        return Progress(self._job.scene.name, done, total, tally.tiles, tally.skipped, rate)

    def _done_px(self) -> int:
        return sum(int(w.width * w.height) for w in self._writer.finished)


def _result(
    job: MapRequest, tally: MapStatistics, stages: dict[str, float], block_px: int, seconds: float
) -> PredictResult:
    names = job.record.output.classes
    areas = tally.areas_m2 or ()
    return PredictResult(
        scene=job.scene.name,
        products=job.products,
        grid=job.grid,
        tiles=tally.tiles,
        skipped=tally.skipped,
        class_pixels=dict(zip(names, tally.pixels, strict=True)),
        class_areas_m2=dict(zip(names, areas, strict=False)),
        statistics=tally.numbers if job.record.output.continuous else None,
        seconds=seconds,
        stages=stages,
        block_px=block_px,
        batch_size=_batch_size(job),
    )
