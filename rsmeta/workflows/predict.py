"""Map scenes with a bundle: check, plan, compute, write, publish."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rasterio.warp import transform_bounds
from rasterio.windows import Window, intersect

import rsmeta
from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.errors import ConfigError, GridMismatchError, OutputError, RsmetaError, SceneError
from rsmeta.geo.scene import expand_sources, open_scene
from rsmeta.geo.tiling import TilePlan
from rsmeta.geo.writer import RasterWriter, check_output
from rsmeta.gis.cog import publish_cog
from rsmeta.inference.engine import Block, run_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene

logger = logging.getLogger(__name__)

#: A scene's pixels may be this many times finer or coarser than the trained ones, not more.
LARGEST_GSD_RATIO = 4.0

WGS84 = "EPSG:4326"


@dataclass(frozen=True)
class Products:
    """Which rasters to write for one scene.

    Attributes:
        classes: The class map, uint8 with nodata 255.
        probabilities: One float32 band per class, NaN where nothing is known.
        confidence: The largest probability, float32, NaN where nothing is known.
    """

    classes: Path
    probabilities: Path | None = None
    confidence: Path | None = None


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


@dataclass
class _Tally:
    """Counts that grow block by block."""

    tiles: int = 0
    skipped: int = 0
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))


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
    _check_free(names, overwrite=overwrite)
    model = _Probabilities(loaded).to(where)
    results = []
    for source, scene, products in zip(sources, opened, names, strict=True):
        report = partial(on_block, str(source)) if on_block else None
        results.append(
            _map_scene(
                model,
                scene,
                loaded.record,
                products,
                overwrite=overwrite,
                bounds=bounds,
                device=where,
                on_block=report,
            )  # fmt: skip
        )
    return results


class _Probabilities(torch.nn.Module):
    """The network with its adapters merged, giving probabilities."""

    def __init__(self, bundle: ModelBundle) -> None:
        super().__init__()
        self.network = bundle.network.eval()

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(image, valid).float(), dim=1)


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
    told = f"{scene.source} has pixels of {size:.3g} m, {ratio:.1f} times {kind} than the trained {trained}"
    if ratio > LARGEST_GSD_RATIO:
        raise SceneError(f"{told}; resample it to within {LARGEST_GSD_RATIO:g} times first")
    logger.warning("%s; expect worse results", told)


def _map_scene(
    model: torch.nn.Module,
    scene: Scene,
    record: BundleRecord,
    products: Products,
    *,
    overwrite: bool,
    bounds: tuple[float, float, float, float] | None,
    device: torch.device,
    on_block: Callable[[int, int], None] | None,
) -> PredictResult:
    started = time.monotonic()
    settings = record.predict
    overlap_px = int(record.tile_px * settings.overlap)
    plan = TilePlan(
        scene.grid.height_px, scene.grid.width_px, record.tile_px, overlap_px, settings.block_px
    )
    extent = _extent(scene.grid, bounds)
    blocks = [b.intersection(extent) for b in plan.blocks() if intersect(b, extent)]
    tally = _Tally()
    with _writers(scene, scene.grid.crop(extent), record, products, overwrite) as write:
        computed = run_blocks(
            model, scene, plan, blend=settings.blend, batch_size=settings.batch_size,
            device=device, windows=blocks,
        )  # fmt: skip
        for done, block in enumerate(computed, 1):
            write(block, extent, tally)
            if on_block:
                on_block(done, len(blocks))
    pixels = {
        name: int(tally.pixels[value])
        for name, value in zip(record.output.classes, record.output.values, strict=True)
    }
    seconds = time.monotonic() - started
    return PredictResult(products, tally.tiles, tally.skipped, pixels, seconds)


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


@contextlib.contextmanager
def _writers(
    scene: Scene, grid: Grid, record: BundleRecord, products: Products, overwrite: bool
) -> Iterator[Callable[[Block, Window, _Tally], None]]:
    """Open the rasters of one scene; give a function that writes a block into all of them."""
    output = record.output
    values = np.array(output.values, dtype=output.dtype)
    tags = map_tags(scene, record)
    with contextlib.ExitStack() as stack:
        classes = stack.enter_context(
            RasterWriter(
                products.classes,
                grid,
                count=1,
                dtype=output.dtype,
                nodata=output.nodata,
                overwrite=overwrite,
                colormap=_colormap(record),
                descriptions=["class"],
                tags=tags,
                publish=partial(publish_cog, overviews="mode"),
            )  # fmt: skip
        )
        shares = stack.enter_context(
            _float_writer(products.probabilities, grid, output.classes, overwrite, tags)
        )
        sure = stack.enter_context(
            _float_writer(products.confidence, grid, ("confidence",), overwrite, tags)
        )

        def write(block: Block, extent: Window, tally: _Tally) -> None:
            place = Window(
                block.window.col_off - extent.col_off, block.window.row_off - extent.row_off,
                block.window.width, block.window.height,
            )  # fmt: skip
            labels = np.full(block.valid.shape, output.nodata, dtype=output.dtype)
            scores = block.scores
            if len(scores):
                labels[block.valid] = values[scores.argmax(axis=0)[block.valid]]
            else:
                scores = np.zeros((len(values), *block.valid.shape), dtype=np.float32)
            classes.write(labels[None], place)
            if shares is not None:
                shares.write(np.where(block.valid, scores, np.nan), place)
            if sure is not None:
                sure.write(np.where(block.valid, scores.max(axis=0), np.nan)[None], place)
            tally.tiles += block.tiles
            tally.skipped += block.skipped
            tally.pixels += np.bincount(labels.ravel(), minlength=256)

        yield write


def _float_writer(
    path: Path | None,
    grid: Grid,
    bands: Sequence[str],
    overwrite: bool,
    tags: dict[str, str],
) -> contextlib.AbstractContextManager[RasterWriter | None]:
    if path is None:
        return contextlib.nullcontext()
    return RasterWriter(
        path, grid, count=len(bands), dtype="float32", nodata=float("nan"), overwrite=overwrite,
        descriptions=list(bands), tags=tags, publish=partial(publish_cog, overviews="average"),
    )  # fmt: skip


def map_tags(scene: Scene, record: BundleRecord) -> dict[str, str]:
    """Return the metadata that a map carries: classes, model hash, source, software."""
    tags = {
        "TIFFTAG_SOFTWARE": f"rsmeta {rsmeta.__version__}",
        "RSMETA_MODEL_SHA256": record.weights_sha256,
        "RSMETA_SOURCE": Path(str(scene.source)).name,
        "RSMETA_CLASSES": json.dumps(
            [{"value": s.value, "name": s.name, "colour": s.colour} for s in record.classes],
            ensure_ascii=False,
        ),
    }
    if scene.acquired is not None:
        tags["TIFFTAG_DATETIME"] = scene.acquired.strftime("%Y:%m:%d %H:%M:%S")
    return tags


def _colormap(record: BundleRecord) -> dict[int, tuple[int, int, int, int]]:
    colours = {spec.value: (*spec.rgb, 255) for spec in record.classes}
    return {**colours, int(record.output.nodata or 255): (0, 0, 0, 0)}


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _check_free(names: Sequence[Products], *, overwrite: bool) -> None:
    """Refuse, before any work, files that exist and files named twice."""
    paths = [p for n in names for p in (n.classes, n.probabilities, n.confidence) if p is not None]
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise OutputError(f"{path} would be written twice; name different files")
        seen.add(path.resolve())
        check_output(path, overwrite=overwrite)
