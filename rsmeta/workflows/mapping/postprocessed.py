"""Map scenes, and make one postprocessed map of them on the grid that is asked for.

The scenes are mapped into a hidden folder beside the map, from which an interrupted run can be
resumed. What is made of them is written like any map, so that styles, tables and items describe it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rasterio.windows import Window

from rsmeta.errors import ConfigError, GridMismatchError, OutputError, one_line
from rsmeta.geo.grid import Grid
from rsmeta.geo.handles import file_states, open_raster
from rsmeta.geo.lock import locked
from rsmeta.geo.warp import covering_grid
from rsmeta.gis import tags
from rsmeta.gis.class_map import STEP_PX
from rsmeta.gis.outputs.products import SHARES, Products, check_located
from rsmeta.gis.outputs.raster_spec import MapSpec
from rsmeta.gis.outputs.rasters import writing
from rsmeta.gis.postprocess.class_store import ClassStore
from rsmeta.gis.postprocess.composite import Composite, Part
from rsmeta.gis.postprocess.majority import majority
from rsmeta.gis.postprocess.quantity_composite import QuantityComposite
from rsmeta.gis.postprocess.sieve import sieve
from rsmeta.gis.progress import no_progress, split_progress, with_progress
from rsmeta.workflows.mapping.one_scene import PredictResult, map_scene
from rsmeta.workflows.mapping.plausibility import check_not_empty
from rsmeta.workflows.mapping.progress import progress_for
from rsmeta.workflows.mapping.sidecars import origin_of, tags_of, write_rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rsmeta.gis.outputs.rasters import ProductWriter
    from rsmeta.gis.postprocess.postprocess import Postprocess
    from rsmeta.gis.progress import OnProgress
    from rsmeta.workflows.mapping.executors import DaskExecutor, LocalExecutor
    from rsmeta.workflows.mapping.progress import Progress
    from rsmeta.workflows.mapping.request import MapRequest

logger = logging.getLogger(__name__)


def map_postprocessed(
    executor: LocalExecutor | DaskExecutor,
    requests: Sequence[MapRequest],
    wanted: Postprocess,
    on_progress: Callable[[Progress], None] | None = None,
) -> PredictResult:
    """Map scenes into one map.

    Args:
        executor: Computes the blocks.
        requests: The scenes; all name the products of the one map.
        wanted: What to make of them.
        on_progress: Called after each block of a scene, and while the one map is made.

    Raises:
        RsmetaError: A scene cannot be read to its end, or the map not be written.
    """
    started = time.monotonic()
    final = _final_request(requests, wanted)
    named = " + ".join(request.scene.name for request in requests)
    recipe = _recipe(requests, wanted)
    if _is_done(final, recipe):
        return PredictResult(named, final.products, final.grid, "kept")
    with _workplace(final) as folder:
        raw = [
            replace(
                request, products=_raw_products(folder, i, final, wanted),
                if_exists="resume or overwrite" if request.resume else "overwrite",
                may_be_empty=True,
            )
            for i, request in enumerate(requests)
        ]  # fmt: skip
        mapped = [map_scene(executor, request, on_progress) for request in raw]
        finishing = time.monotonic()
        merging = _Merging(requests, wanted, final, recipe, on_progress)
        writer = _merged(merging, [request.products for request in raw], folder)
        shutil.rmtree(folder)
    statistics = replace(
        writer.statistics, tiles=sum(one.tiles for one in mapped),
        skipped=sum(one.skipped for one in mapped),
    )  # fmt: skip
    now = time.monotonic()
    return PredictResult.of(
        final, statistics, named, seconds=now - started,
        stages={"mapping": finishing - started, "postprocessing": now - finishing},
        block_px=mapped[0].block_px, batch_size=mapped[0].batch_size,
    )  # fmt: skip


@contextlib.contextmanager
def _workplace(final: MapRequest) -> Iterator[Path]:
    """Hold the hidden folder of a map's raw material; what is in it stays for a later --resume.

    Raises:
        OutputError: Another process is writing the same map, or the folder cannot be made.
    """
    target = final.products.files["map"]
    folder = target.with_name(f".{target.name}.raw")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, target))
            if not final.resume:
                _empty(folder)
        except OSError as error:
            raise OutputError(f"cannot write in {folder} ({one_line(error)})") from error
        try:
            yield folder
        finally:
            if folder.exists() and not any(p.name != "lock" for p in folder.iterdir()):
                shutil.rmtree(folder)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def check_postprocess(requests: Sequence[MapRequest], wanted: Postprocess) -> None:
    """Refuse, before any work, what cannot be made of the maps.

    Raises:
        ConfigError: It is made of classes, and the model tells numbers.
        GridMismatchError: A scene has no place on the grid that is asked for.
        OutputError: Polygons cannot be written for that grid.
    """
    output = requests[0].record.output
    if output.continuous:
        for_classes = {"--majority": wanted.majority_px, "--sieve": wanted.sieve_px}
        for option in (option for option, asked in for_classes.items() if asked is not None):
            raise ConfigError(
                f"{option}: tidies classes, and the model maps {output.name}, a number; omit "
                f"{option}"
            )
        if wanted.mosaic == "confidence":
            raise ConfigError(
                f"--mosaic confidence: the model maps {output.name}, a number, and tells no "
                f"confidence; use --mosaic first or --mosaic mean"
            )
    check_located(requests[0].products, _target(requests, wanted))


def _target(requests: Sequence[MapRequest], wanted: Postprocess) -> Grid:
    if wanted.like is None:
        return covering_grid([request.grid for request in requests], wanted.target_crs)
    raster = open_raster(str(wanted.like))
    if raster.crs is None:
        raise ConfigError(f"{wanted.like} has no CRS; its grid is nowhere")
    for request in (request for request in requests if request.grid.crs is None):
        raise GridMismatchError(
            f"{request.scene.name} has no CRS, so it has no place on another grid; add its CRS"
        )
    return Grid(raster.crs, raster.transform, raster.height, raster.width)


def _final_request(requests: Sequence[MapRequest], wanted: Postprocess) -> MapRequest:
    """Return the request of the one map: as of the first scene, on the grid that is asked for."""
    grid = _target(requests, wanted)
    times = {request.scene.acquired for request in requests}
    acquired = times.pop() if len(times) == 1 else None  # one moment is what a tag can hold
    scene = replace(requests[0].scene, grid=grid, acquired=acquired)
    plan = replace(requests[0].plan, scene_grid=grid, extent=grid.full_window)
    return replace(requests[0], scene=scene, plan=plan)


def _recipe(requests: Sequence[MapRequest], wanted: Postprocess) -> str:
    """Return what is made of what, for people, and a hash that differs where that does."""
    made_of = [
        (
            request.scene.source.identity, [int(n) for n in request.plan.extent.flatten()],
            None if request.aoi is None else request.aoi.sha256, file_states(request.scene.source),
        )
        for request in requests
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"{wanted.description}; {digest[:16]}"


def _is_done(final: MapRequest, recipe: str) -> bool:
    """Return whether an earlier run has left nothing to resume."""
    paths = final.products.paths
    if not (final.resume and all(path.is_file() for path in paths)):
        return False
    found = open_raster(str(final.products.files["map"])).tags()
    same = (found.get(tags.MODEL), found.get(tags.POSTPROCESS)) == (
        final.record.weights_sha256, recipe,
    )  # fmt: skip
    if same or final.if_exists == "resume or overwrite":
        return same
    raise OutputError(
        f"{final.products.map} was made by another model or in another way; choose another name "
        f"or give --overwrite"
    )


def _raw_products(folder: Path, i: int, final: MapRequest, wanted: Postprocess) -> Products:
    """Return what is needed of one scene: no more than the map and what it is merged by."""
    if final.record.output.continuous:
        return Products(folder / f"{i}_map.tif")
    asked = final.products.files
    shares = any(name in asked for name in SHARES) or wanted.mosaic == "mean"
    sure = wanted.mosaic == "confidence" and not shares
    return Products(
        folder / f"{i}_map.tif",
        probabilities=folder / f"{i}_probabilities.tif" if shares else None,
        confidence=folder / f"{i}_confidence.tif" if sure else None,
    )


@dataclass(frozen=True)
class _Merging:
    """What is to be made of finished maps.

    Attributes:
        requests: The scenes.
        wanted: What to make of their maps.
        final: The one map.
        recipe: As ``_recipe`` returns it.
        on_progress: Called while it is made.
    """

    requests: Sequence[MapRequest]
    wanted: Postprocess
    final: MapRequest
    recipe: str
    on_progress: Callable[[Progress], None] | None

    def report(self, stage: str) -> OnProgress:
        """Return what takes the share of a stage that is done."""
        total_px = math.prod(self.final.grid.shape)
        name = self.final.products.outputs["map"].destination
        return progress_for(self.on_progress, stage, scene=name, total_px=total_px)


def _merged(merging: _Merging, raw: Sequence[Products], folder: Path) -> ProductWriter:
    """Make the one map of the scenes' own ones; return what has written it."""
    composite = _composite(merging.final, raw, merging.wanted)
    on_tidied, on_written = split_progress(merging.report("postprocessing"), 2)
    store = _tidied(composite, merging.wanted, folder, on_tidied)
    return _write(merging, composite, store, on_written)


def _composite(
    final: MapRequest, raw: Sequence[Products], wanted: Postprocess
) -> Composite | QuantityComposite:
    """Return the maps of the scenes as one, on the grid of the one map."""
    if final.record.output.continuous:
        rule: Literal["first", "mean"] = "mean" if wanted.mosaic == "mean" else "first"
        return QuantityComposite([one.files["map"] for one in raw], final.grid, rule)
    parts = [
        Part(files["map"], files.get("probabilities"), files.get("confidence"))
        for files in (one.files for one in raw)
    ]
    return Composite(parts, final.grid, wanted.mosaic or "first")


def _tidied(
    composite: Composite | QuantityComposite,
    wanted: Postprocess,
    folder: Path,
    on_progress: OnProgress,
) -> ClassStore | None:
    """Return the classes of the whole map, tidied; none where nothing is to be tidied."""
    if wanted.majority_px is None and wanted.sieve_px is None:
        return None
    assert isinstance(composite, Composite)  # check_postprocess has refused numbers
    on_gathered, on_sieved = (
        split_progress(on_progress, 2)
        if wanted.sieve_px is not None
        else (on_progress, no_progress)
    )
    try:
        store = ClassStore(folder / "classes.raw", composite.grid.shape)
        _gather(store, composite, wanted.majority_px, on_gathered)
        if wanted.sieve_px is not None:
            joined = sieve(store, wanted.sieve_px, on_progress=on_sieved)
            logger.info("sieve: %d regions of less than %d pixels joined to their neighbours",
                        joined, wanted.sieve_px)  # fmt: skip
    except OSError as error:
        raise OutputError(f"cannot write in {folder} ({one_line(error)}); is it full?") from error
    return store


def _gather(
    store: ClassStore, composite: Composite, majority_px: int | None, on_progress: OnProgress
) -> None:
    """Fill a store with the classes of a composite, the majority of them around each pixel."""
    half = (majority_px or 1) // 2
    strips = list(store.strips())
    for top, end in with_progress(strips, len(strips), on_progress):
        first, last = max(top - half, 0), min(end + half, store.height_px)
        rows = composite.classes(Window(0, first, store.width_px, last - first))
        if majority_px is not None:
            rows = majority(rows, majority_px)
        store.write(top, rows[top - first : end - first])


def _write(
    merging: _Merging,
    composite: Composite | QuantityComposite,
    store: ClassStore | None,
    on_progress: OnProgress,
) -> ProductWriter:
    made, final = datetime.now(UTC), merging.final
    carried = tags_of(final.scene, final.record, made) | {
        tags.SOURCE: ", ".join(Path(request.scene.name).name for request in merging.requests),
        tags.POSTPROCESS: merging.recipe,
    }
    spec = MapSpec(
        final.record.output, final.record.classes, carried, final.products.probabilities_type
    )
    resume_fingerprint = {"postprocessing": merging.recipe, "model": final.record.weights_sha256}
    with writing(
        final.products, final.grid, spec, resume_fingerprint=resume_fingerprint,
        overwrite=final.may_replace,
    ) as writer:  # fmt: skip
        used = _write_blocks(writer, composite, store, on_progress)
        where = final.products.outputs["map"].destination
        check_not_empty(writer.statistics, merging.requests, where=where)
        origin = origin_of([merging.requests[i] for i in sorted(used)] or merging.requests, made)
        write_rest(final, writer, origin, merging.report("polygons"))
    return writer


def _write_blocks(
    writer: ProductWriter,
    composite: Composite | QuantityComposite,
    store: ClassStore | None,
    on_progress: OnProgress,
) -> set[int]:
    """Write a map block by block; return the places of the scenes that have a pixel in it."""
    used: set[int] = set()
    height, width = composite.grid.shape
    tops = range(0, height, STEP_PX)
    for row in with_progress(tops, len(tops), on_progress):
        rows = min(STEP_PX, height - row)
        tidy = None if store is None else store.read(row, row + rows)
        for col in range(0, width, STEP_PX):
            window = Window(col, row, min(STEP_PX, width - col), rows)
            merged = composite.read(window)
            used |= merged.used
            indices, valid = merged.indices, merged.valid
            if tidy is not None:
                indices = tidy[:, col : col + int(window.width)]
                valid = indices >= 0
            if valid.any():
                writer.write(writer.maker.made(merged.scores, valid, window, classes=indices))
    return used
