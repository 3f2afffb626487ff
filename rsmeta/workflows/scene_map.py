"""Map one scene with a model that is ready: check, plan, compute, write, publish."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import re
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from rasterio.warp import transform_bounds
from rasterio.windows import Window, intersect

import rsmeta
from rsmeta.errors import (
    BandsUnrecognisedError,
    ConfigError,
    GridMismatchError,
    OutputError,
    SceneError,
)
from rsmeta.geo.cells import CellPlan
from rsmeta.geo.handles import local_files, open_raster
from rsmeta.geo.journal import read_begun_with
from rsmeta.geo.remote import without_query
from rsmeta.geo.scene import open_scene
from rsmeta.geo.tiling import TilePlan
from rsmeta.geo.writer import partial_folder
from rsmeta.gis.delivery import final_place, is_there
from rsmeta.gis.look import Look
from rsmeta.gis.rasters import journal_file, writing
from rsmeta.inference import sizing
from rsmeta.inference.cells import run_cells
from rsmeta.inference.engine import run_blocks
from rsmeta.inference.flow import Flow
from rsmeta.workflows.cluster import BlockTask, Cluster, shifted
from rsmeta.workflows.map_files import MODEL_TAG, tags_of, write_rest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    import torch

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.area import Area
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.products import Products
    from rsmeta.gis.rasters import MadeBlock, ProductWriter
    from rsmeta.gis.tally import Statistics, Tally
    from rsmeta.inference.engine import Block
    from rsmeta.inference.scoring import Model

logger = logging.getLogger(__name__)

#: A scene's pixels may be this many times finer or coarser than the trained ones, not more.
LARGEST_GSD_RATIO = 4.0

WGS84 = "EPSG:4326"


@dataclass(frozen=True)
class Progress:
    """How far the map of one scene is.

    Attributes:
        scene: Its source.
        done_px: Pixels that are finished, those of an interrupted run included.
        total_px: Pixels to map.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel.
        px_per_s: Pixels a second in this run.
    """

    scene: str
    done_px: int
    total_px: int
    tiles: int
    skipped: int
    px_per_s: float

    @property
    def left_s(self) -> float:
        """Seconds that the rest takes at this rate."""
        return (self.total_px - self.done_px) / max(self.px_per_s, 1e-9)


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
        return {name: final_place(path) for name, path in self.products.files.items()}


def open_for(source: str | Path, record: BundleRecord) -> Scene:
    """Open a scene with the bands of a model, matched by name.

    It is read as the training scenes were; where that does not fit (another sensor, bands in
    another order), by what the scene says of itself.

    Raises:
        SceneError: It cannot be read, or lacks a band.
    """
    wanted = [band.band for band in record.bands]
    rules = record.read.rules
    try:
        return open_scene(source, rules, wanted=wanted).select(wanted)
    except BandsUnrecognisedError as error:
        raise SceneError(
            f"cannot tell the bands of {source}; give them descriptions in the file, so that "
            f"{', '.join(band.name for band in wanted)} can be found among them"
        ) from error
    except (SceneError, ConfigError):
        if rules.bands is None and rules.sensor is None:
            raise
        with contextlib.suppress(SceneError):
            own = replace(rules, bands=None, sensor=None)
            return open_scene(source, own, wanted=wanted).select(wanted)
        raise


def check_scene(scene: Scene, record: BundleRecord) -> None:
    """Compare a scene's pixel size with those trained on.

    Raises:
        SceneError: The pixels are more than four times finer or coarser.
    """
    if scene.grid.crs is None:
        logger.warning("%s has no CRS; its map will have none either", scene.name)
    size = scene.grid.gsd_m
    if size is None or record.gsd_m is None:
        return
    low, high = record.gsd_m
    ratio = max(low / size, size / high, 1.0)
    if ratio <= 1.05:
        return
    trained = f"{low:.3g} m" if high / low < 1.05 else f"{low:.3g} to {high:.3g} m"
    kind = "finer" if size < low else "coarser"
    told = (
        f"{scene.name} has pixels of {size:.3g} m, {ratio:.1f} times {kind} than the "
        f"trained {trained}"
    )
    if ratio > LARGEST_GSD_RATIO:
        raise SceneError(f"{told}; resample it to within {LARGEST_GSD_RATIO:g} times first")
    logger.warning("%s; expect worse results", told)


@dataclass(frozen=True)
class Job:
    """One scene to map, checked.

    Attributes:
        scene: The scene, with the model's bands.
        record: The model; its settings are those to map with.
        products: The files to write.
        device: Where the model is.
        extent: Part of the scene to map, in its pixels.
        overwrite: Replace files that exist.
        resume: Go on where an earlier run was interrupted.
        bundle: Folder of the model; none if it was never saved.
        area: Polygons outside which is nodata; none: all of ``extent`` is mapped.
    """

    scene: Scene
    record: BundleRecord
    products: Products
    device: torch.device
    extent: Window
    overwrite: bool
    resume: bool
    bundle: Path | None = None
    area: Area | None = None

    @property
    def grid(self) -> Grid:
        """The grid of the map: the scene's own, or a coarser one of one value per cell."""
        own = self.scene.grid.crop(self.extent)
        return own if self.record.per == "pixel" else own.coarser(self.cells(0).stride_px)

    def cells(self, block_px: int) -> CellPlan:
        """Return the cells that a model of whole images maps, in blocks of at most ``block_px``.

        Raises:
            ConfigError: It is not known how much ground an image covers.
        """
        image, asked = self.record.image, self.record.predict
        tile_px = asked.tile_px or (image.ground_px if image else self.record.tile_px)
        if tile_px is None:
            raise ConfigError(
                "the model was trained on images of different sizes; say how many of the scene's "
                "pixels one image covers, with --set tile_px=N"
            )
        return CellPlan(self.extent, tile_px, asked.stride_px or tile_px, block_px)

    @property
    def is_done(self) -> bool:
        """Whether an earlier run has left nothing to resume.

        Raises:
            OutputError: The map that is there was made by another model or on another grid.
        """
        paths = self.products.paths
        begun = any(partial_folder(path).exists() for path in paths)
        if not self.resume or begun or not all(map(is_there, paths)):
            return False
        made = self.products.map
        found = open_raster(str(made) if made.is_file() else final_place(made))
        same = found.tags().get(MODEL_TAG) == self.record.weights_sha256
        if same and (found.transform, found.shape) == (self.grid.transform, self.grid.shape):
            return True
        if self.overwrite:
            return False
        raise OutputError(
            f"{final_place(made)} was made by another model or for another extent; choose "
            f"another name or give --overwrite"
        )


def map_scene(
    model: Model | Cluster, job: Job, on_progress: Callable[[Progress], None] | None = None
) -> PredictResult:
    """Map one scene.

    Args:
        model: Gives class probabilities, on the job's device; or computes them elsewhere.
        job: What to map.
        on_progress: Called after each block.

    Raises:
        RsmetaError: The scene cannot be read to its end, or the map not be written.
    """
    if job.is_done:
        return PredictResult(job.scene.name, job.products, job.grid, "kept")
    started = time.monotonic()
    plan = _plan(job)
    made = datetime.now(UTC)
    look = Look(
        job.record.output,
        job.record.classes,
        tags_of(job.scene, job.record, made),
        job.products.probabilities_type,
    )
    stages: dict[str, float] = {}
    try:
        with writing(
            job.products, job.grid, look, begun_with=_begun_with(job, plan.block_px),
            overwrite=job.overwrite or job.resume, resume=job.resume,
        ) as writer:  # fmt: skip
            stages |= _write_blocks(model, job, plan, writer, on_progress)
            finishing = time.monotonic()
            write_rest(job, writer, made)
    except KeyboardInterrupt:
        if any(partial_folder(path).exists() for path in job.products.paths):
            logger.warning("what is finished is kept; go on with --resume")
        raise
    stages["finishing"] = time.monotonic() - finishing
    return _result(job, writer.tally, stages, plan.block_px, time.monotonic() - started)


def _plan(job: Job) -> TilePlan:
    begun = read_begun_with(journal_file(job.products)) if job.resume else None
    begun_px = None if begun is None else int(begun["setting"]["block_px"])
    return plan_for(job.scene, job.record, begun_px=begun_px)


def plan_for(scene: Scene, record: BundleRecord, *, begun_px: int | None = None) -> TilePlan:
    """Return how a scene is cut for a model.

    Args:
        scene: The scene.
        record: The model, with the settings to map with.
        begun_px: Side of the blocks that there are already; none: there are none.
    """
    settings = record.predict
    block_px = settings.block_px or begun_px
    if block_px is None:
        block_px = sizing.choose_block_px(
            bands=len(record.bands), classes=record.output.scores, tile_px=record.tile_px,
            free_bytes=sizing.free_memory_bytes(),
        )  # fmt: skip
    overlap_px = int(record.tile_px * settings.overlap)
    return TilePlan(*scene.grid.shape, record.tile_px, overlap_px, block_px)


def _batch_size(job: Job) -> int:
    return job.record.predict.batch_size or sizing.choose_batch_size(job.device)


def _write_blocks(
    model: Model | Cluster,
    job: Job,
    plan: TilePlan,
    writer: ProductWriter,
    on_progress: Callable[[Progress], None] | None,
) -> dict[str, float]:
    """Write what is not finished; return the seconds of each stage."""
    watch, writing_s = _Watch(job, writer), 0.0
    begun = time.perf_counter()
    with Flow() as flow:
        if isinstance(model, Cluster):
            finished = {shifted(window, job.extent, 1) for window in writer.finished}
            task = BlockTask(job.scene, plan, job.extent, writer.maker, job.area)
            blocks = model.blocks(task, finished)
        else:
            blocks = _computed_here(model, job, plan, writer, flow)
        with contextlib.closing(blocks):
            for block in blocks:
                started = time.perf_counter()
                writer.write(block)
                writing_s += time.perf_counter() - started
                if on_progress:
                    on_progress(watch.progress())
        waited_s = flow.waited_s or time.perf_counter() - begun - writing_s
        return {**flow.seconds, "writing": writing_s, "waiting": waited_s}


def _computed_here(
    model: Model, job: Job, plan: TilePlan, writer: ProductWriter, flow: Flow
) -> Generator[MadeBlock, None, None]:
    blocks = (
        _pixels(model, job, plan, writer, flow)
        if job.record.per == "pixel"
        else run_cells(
            model, job.scene, job.cells(plan.block_px), flow=flow, finished=writer.finished,
            batch_size=_batch_size(job), device=job.device,
        )
    )  # fmt: skip
    for block in blocks:
        yield writer.maker.made(
            block.scores, block.valid, block.window, tiles=block.tiles, skipped=block.skipped
        )


def _pixels(
    model: Model, job: Job, plan: TilePlan, writer: ProductWriter, flow: Flow
) -> Iterator[Block]:
    """Yield blocks of pixels, in places of the map."""
    classes = job.record.output.scores
    for block in run_blocks(
        model, job.scene, plan, flow=flow,
        strips=plan.strips(job.extent, strip_blocks=sizing.choose_strip_blocks(plan, classes)),
        finished={shifted(window, job.extent, 1) for window in writer.finished},
        area=job.area, blend=job.record.predict.blend,
        batch_size=_batch_size(job), device=job.device,
        blend_on=sizing.choose_blending(plan, classes, job.device),
        keep_in=partial_folder(job.products.map),
    ):  # fmt: skip
        yield replace(block, window=shifted(block.window, job.extent, -1))


class _Watch:
    """Sees how fast a map grows."""

    def __init__(self, job: Job, writer: ProductWriter) -> None:
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
    job: Job, tally: Tally, stages: dict[str, float], block_px: int, seconds: float
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


def _begun_with(job: Job, block_px: int) -> dict[str, Any]:
    """Return all that determines the pixels of a map, under names that a user understands."""
    scene, record, settings = job.scene, job.record, job.record.predict
    model = hashlib.sha256(record.model_dump_json(exclude={"predict"}).encode())
    reading = {
        key: value for key, value in asdict(scene).items() if key not in {"grid", "acquired"}
    }
    chosen = settings.model_dump(include={"overlap", "blend", "augment", "precision", "optimize"})
    if record.per == "image":
        chosen |= {"cells": [job.cells(block_px).tile_px, job.cells(block_px).stride_px]}
    return {
        "version of rsmeta": rsmeta.__version__,
        "model": model.hexdigest(),
        "scene": {**reading, "source": _lasting(scene), "files": local_files(scene.source)},
        "extent": [int(n) for n in job.extent.flatten()],
        "mask": None if job.area is None else job.area.sha256,
        "setting": {"tile_px": record.tile_px, **chosen, "block_px": block_px},
        "list of outputs": [path.name for path in job.products.paths],
        "type of probabilities": job.products.probabilities_type,
    }


def _lasting(scene: Scene) -> str:
    """Return what a scene is made of, without signatures of addresses, which expire."""
    if scene.name == scene.source:
        return without_query(scene.source)
    parts = re.sub(r"\?[^<]*(?=</SourceFilename>)", "", scene.source)
    return f"{scene.name} {hashlib.sha256(parts.encode()).hexdigest()}"


def extent_of(grid: Grid, bounds: tuple[float, float, float, float] | None) -> Window:
    """Return the part of a grid to map, as a window of whole pixels inside it."""
    if bounds is None:
        return grid.full_window
    if grid.crs is None:
        raise GridMismatchError("--bounds needs a scene with a CRS; this one has none")
    west, south, east, north = bounds
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise GridMismatchError(f"--bounds {bounds} are no W S E N in degrees")
    window = grid.window(transform_bounds(WGS84, grid.crs, west, south, east, north))
    if not intersect(window, grid.full_window):
        raise GridMismatchError(f"--bounds {bounds} do not meet the scene {grid.bounds_lonlat()}")
    return window.intersection(grid.full_window)
