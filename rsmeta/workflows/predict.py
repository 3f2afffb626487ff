"""Map scenes with a bundle: check, plan, compute, write, publish."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rasterio.warp import transform_bounds
from rasterio.windows import Window, intersect

import rsmeta
from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.config.data import CLASS_NODATA
from rsmeta.errors import (
    BandsUnrecognisedError,
    ConfigError,
    GridMismatchError,
    OutputError,
    RsmetaError,
    SceneError,
    enumerate_names,
)
from rsmeta.geo.scene import expand_sources, open_scene
from rsmeta.geo.tiling import TilePlan
from rsmeta.gis.products import Products, check_products, writing
from rsmeta.inference.engine import run_blocks
from rsmeta.peft import is_merged, merge, unmerge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene
    from rsmeta.inference.engine import Model

logger = logging.getLogger(__name__)

#: A scene's pixels may be this many times finer or coarser than the trained ones, not more.
LARGEST_GSD_RATIO = 4.0

WGS84 = "EPSG:4326"


@dataclass(frozen=True)
class PredictResult:
    """What mapping one scene came to.

    Attributes:
        products: The files written.
        tiles: Tiles that went through the network.
        skipped: Tiles without a valid pixel.
        class_pixels: Mapped pixels per class name.
        seconds: Wall time.
    """

    products: Products
    tiles: int
    skipped: int
    class_pixels: dict[str, int]
    seconds: float


def predict(
    scenes: str | Path | Sequence[str | Path],
    bundle: str | Path | ModelBundle,
    *,
    output: str | Path,
    probabilities: str | Path | None = None,
    confidence: str | Path | None = None,
    overwrite: bool = False,
    bounds: tuple[float, float, float, float] | None = None,
    device: str = "auto",
    on_block: Callable[[str, int, int], None] | None = None,
) -> list[PredictResult]:
    """Map one or more scenes.

    Args:
        scenes: Files, folders or patterns.
        bundle: A bundle, or its folder.
        output: The map's file (one scene), or a folder for ``<scene>_map.tif`` each.
        probabilities: File for class probabilities; one scene only.
        confidence: File for the largest probability; one scene only.
        overwrite: Replace files that exist.
        bounds: West, south, east, north in degrees (WGS 84): map this part only.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        on_block: Called with scene, finished and total blocks.

    Returns:
        One result per scene, in order.

    Raises:
        RsmetaError: Anything a user can mend: scene, bands, pixel size, bundle, output.
    """
    given = [scenes] if isinstance(scenes, str | Path) else list(scenes)
    sources = expand_sources(given, Path())
    output = Path(output)
    single = len(sources) == 1 and output.suffix.lower() in (".tif", ".tiff")
    if not single and (output.suffix or probabilities or confidence):
        raise OutputError(
            f"{len(sources)} scenes go into a folder, and {output} is a file name or "
            f"--probabilities/--confidence name one file; name a folder, or map one scene"
        )
    names = [
        Products(output, _path(probabilities), _path(confidence))
        if single
        else Products(output / f"{Path(str(source)).stem}_map.tif")
        for source in sources
    ]
    where = choose_device(device)
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
    opened = [open_for(source, loaded.record) for source in sources]
    for scene in opened:  # all of them before any work
        check_scene(scene, loaded.record)
        _extent(scene.grid, bounds)
    check_products(names, overwrite=overwrite)
    results = []
    with _ready(loaded, where) as model:
        for scene, products in zip(opened, names, strict=True):
            job = _Job(scene, loaded.record, products, where, bounds, overwrite)
            report = partial(on_block, scene.source) if on_block else None
            results.append(_map_scene(model, job, report))
    return results


@contextlib.contextmanager
def _ready(bundle: ModelBundle, device: torch.device) -> Iterator[Model]:
    """Give the network as class probabilities, its adapters merged for as long as it maps."""
    network = bundle.network.eval().to(device)
    fresh = not is_merged(network)
    if fresh and (left := merge(network).left):
        logger.info("%d adapters run as they are: %s", len(left), enumerate_names(left, 3))
    try:
        yield lambda image, valid: torch.softmax(network(image, valid).float(), dim=1)
    finally:
        if fresh:
            unmerge(network)


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is the first GPU if there is one.

    Raises:
        RsmetaError: The device is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise RsmetaError(f"no device is called {name!r}; use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise RsmetaError(f"--device {name}: this machine has {count} GPU(s); use --device cpu")
    return device


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
        return open_scene(source, rules).select(wanted)
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
            return open_scene(source, own).select(wanted)
        raise


def check_scene(scene: Scene, record: BundleRecord) -> None:
    """Compare a scene's pixel size with those trained on.

    Raises:
        SceneError: The pixels are more than four times finer or coarser.
    """
    if scene.grid.crs is None:
        logger.warning("%s has no CRS; its map will have none either", scene.source)
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
        f"{scene.source} has pixels of {size:.3g} m, {ratio:.1f} times {kind} than the "
        f"trained {trained}"
    )
    if ratio > LARGEST_GSD_RATIO:
        raise SceneError(f"{told}; resample it to within {LARGEST_GSD_RATIO:g} times first")
    logger.warning("%s; expect worse results", told)


@dataclass(frozen=True)
class _Job:
    """One scene to map, checked."""

    scene: Scene
    record: BundleRecord
    products: Products
    device: torch.device
    bounds: tuple[float, float, float, float] | None
    overwrite: bool


def _map_scene(
    model: Model, job: _Job, on_block: Callable[[int, int], None] | None
) -> PredictResult:
    started = time.monotonic()
    scene, record, settings = job.scene, job.record, job.record.predict
    height_px, width_px = scene.grid.shape
    overlap_px = int(record.tile_px * settings.overlap)
    plan = TilePlan(height_px, width_px, record.tile_px, overlap_px, settings.block_px)
    extent = _extent(scene.grid, job.bounds)
    blocks = [b.intersection(extent) for b in plan.blocks() if intersect(b, extent)]
    tiles = skipped = 0
    with writing(
        job.products, scene.grid.crop(extent), record.classes,
        nodata=CLASS_NODATA, tags=_tags(scene, record), overwrite=job.overwrite,
    ) as writer:  # fmt: skip
        computed = run_blocks(
            model, scene, plan, blend=settings.blend, batch_size=settings.batch_size,
            device=job.device, windows=blocks,
        )  # fmt: skip
        for done, block in enumerate(computed, 1):
            writer.write(block.scores, block.valid, _inside(block.window, extent))
            tiles, skipped = tiles + block.tiles, skipped + block.skipped
            if on_block:
                on_block(done, len(blocks))
    pixels = dict(zip(record.output.classes, writer.class_pixels.tolist(), strict=True))
    return PredictResult(job.products, tiles, skipped, pixels, time.monotonic() - started)


def _inside(window: Window, extent: Window) -> Window:
    """Return a window counted from the corner of another."""
    col, row = window.col_off - extent.col_off, window.row_off - extent.row_off
    return Window(col, row, window.width, window.height)


def _extent(grid: Grid, bounds: tuple[float, float, float, float] | None) -> Window:
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


def _tags(scene: Scene, record: BundleRecord) -> dict[str, str]:
    """Return the metadata that a map carries: model hash, source, software, time."""
    tags = {
        "TIFFTAG_SOFTWARE": f"rsmeta {rsmeta.__version__}",
        "RSMETA_MODEL_SHA256": record.weights_sha256,
        "RSMETA_SOURCE": Path(scene.source).name,
    }
    if scene.acquired is not None:
        tags["TIFFTAG_DATETIME"] = scene.acquired.strftime("%Y:%m:%d %H:%M:%S")
    return tags


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
