"""Map one scene with a model that is ready: compute, write, publish."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from rsmeta.files import partial_folder
from rsmeta.geo.handles import bounded_cache
from rsmeta.gis.outputs.raster_spec import MapSpec
from rsmeta.gis.outputs.rasters import writing
from rsmeta.gis.outputs.thumbnail import thumbnail
from rsmeta.shown import Shown, View
from rsmeta.workflows.mapping.fingerprint import is_done, resume_fingerprint
from rsmeta.workflows.mapping.plausibility import check_not_empty
from rsmeta.workflows.mapping.progress import MapProgress, Progress, progress_for
from rsmeta.workflows.mapping.sidecars import origin_of, tags_of, write_rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.geo.grid import Grid
    from rsmeta.gis.outputs.map_statistics import MapStatistics, Statistics
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.outputs.rasters import ProductWriter
    from rsmeta.workflows.mapping.executors import DaskExecutor, LocalExecutor
    from rsmeta.workflows.mapping.request import MapRequest

logger = logging.getLogger(__name__)

#: What GDAL may keep of decoded pixels while it makes the final files; reading takes its own share.
_WRITING_CACHE_BYTES = 16 * 2**20


@dataclass(frozen=True, repr=False)
class PredictResult(Shown):
    """Summary of mapping one scene.

    Attributes:
        scene: The scene, as it was given.
        products: The files written.
        grid: Their grid.
        status: ``kept``: an earlier run had finished it; only its files are known.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel.
        class_pixels: Mapped pixels per class name.
        class_areas_m2: Their area likewise; empty for a scene without CRS.
        statistics: Of the values, where the model estimates a quantity.
        seconds: Wall time.
        stages: Seconds of work per stage; in ``waiting`` writing waited for the others.
        block_px: Side of a block.
        batch_size: Tiles at once, at first; none where workers of Dask choose it.
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

    @classmethod
    def of(
        cls, request: MapRequest, statistics: MapStatistics, scene: str, **more: Any
    ) -> PredictResult:
        """Return the summary of a map.

        Args:
            request: What was mapped.
            statistics: Of the whole map.
            scene: What it was made from.
            **more: Other fields.
        """
        output = request.record.output
        return cls(
            scene, request.products, request.grid,
            tiles=statistics.tiles,
            skipped=statistics.skipped,
            class_pixels=dict(zip(output.classes, statistics.pixels, strict=True)),
            class_areas_m2=dict(zip(output.classes, statistics.areas_m2 or (), strict=False)),
            statistics=statistics.numbers if output.continuous else None,
            **more,
        )  # fmt: skip

    @property
    def outputs(self) -> dict[str, str]:
        """Where the files are, by the name of the product."""
        return {name: output.destination for name, output in self.products.outputs.items()}

    def view(self) -> View:
        """Return what the classes cover, with the map."""
        facts = {"scene": self.scene, "map": self.outputs.get("map"),
                 "size": f"{self.grid.width_px:,} x {self.grid.height_px:,} px",
                 "status": self.status, "seconds": self.seconds}  # fmt: skip
        areas = {name: area / 10_000 for name, area in self.class_areas_m2.items()}
        rows = [(n, pixels, areas.get(n)) for n, pixels in self.class_pixels.items()]
        picture = thumbnail(str(facts["map"]))
        return View(facts, ("class", "pixels", "hectares"), rows, [picture] if picture else [])


def map_scene(
    executor: LocalExecutor | DaskExecutor,
    request: MapRequest,
    on_progress: Callable[[Progress], None] | None = None,
) -> PredictResult:
    """Map one scene.

    Args:
        executor: Computes the blocks.
        request: What to map.
        on_progress: Called after each block, and while polygons are made.

    Raises:
        RsmetaError: The scene cannot be read to its end, or the map not be written.
    """
    name, products = request.scene.name, request.products
    if is_done(request):
        return PredictResult(name, products, request.grid, "kept")
    started, made = time.monotonic(), datetime.now(UTC)
    tags = tags_of(request.scene, request.record, made)
    spec = MapSpec(request.record.output, request.record.classes, tags, products.probabilities_type)
    try:
        with bounded_cache(_WRITING_CACHE_BYTES), writing(
            products, request.grid, spec, resume_fingerprint=resume_fingerprint(request),
            overwrite=request.may_replace, resume=request.resume,
        ) as writer:  # fmt: skip
            stages = _write_blocks(executor, request, writer, on_progress)
            if not request.may_be_empty:
                check_not_empty(
                    writer.statistics, [request], where=products.outputs["map"].destination
                )
            finishing = time.monotonic()
            total_px = math.prod(request.grid.shape)
            report = progress_for(on_progress, "polygons", scene=name, total_px=total_px)
            write_rest(request, writer, origin_of([request], made), report)
    except KeyboardInterrupt:
        if any(partial_folder(path).exists() for path in products.paths):
            logger.warning("finished blocks are kept; continue with --resume")
        raise
    now = time.monotonic()
    return PredictResult.of(
        request, writer.statistics, name, seconds=now - started, batch_size=executor.batch_size,
        stages=stages | {"finishing": now - finishing}, block_px=request.plan.block_px,
    )  # fmt: skip


def _write_blocks(
    executor: LocalExecutor | DaskExecutor,
    request: MapRequest,
    writer: ProductWriter,
    on_progress: Callable[[Progress], None] | None,
) -> dict[str, float]:
    """Write the blocks that are not finished; return the seconds of each stage."""
    started, writing_s = time.perf_counter(), 0.0
    progress = MapProgress(
        on_progress, request.scene.name, total_px=math.prod(request.grid.shape),
        done_px=sum(int(window.width * window.height) for window in writer.finished),
    )  # fmt: skip
    blocks = executor.blocks(request, writer.maker, writer.finished)
    with contextlib.closing(blocks):
        for block in blocks:
            begun = time.perf_counter()
            writer.write(block)
            writing_s += time.perf_counter() - begun
            statistics, pixels = writer.statistics, int(block.window.width * block.window.height)
            progress.advance(pixels, tiles=statistics.tiles, skipped=statistics.skipped)
            del block
    waiting_s = time.perf_counter() - started - writing_s
    return executor.seconds | {"writing": writing_s, "waiting": waiting_s}
