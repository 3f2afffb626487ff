"""Map scenes with a bundle: one or many, and what came of it."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.config.load import overruled
from rsmeta.errors import (
    BundleError,
    ConfigError,
    RsmetaError,
    ScenesFailedError,
)
from rsmeta.geo.aoi import read_aoi
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.sources import expand_sources, read_lists, scene_stem
from rsmeta.gis.outputs.delivery import deliver, discard_undelivered
from rsmeta.gis.outputs.products import Products, check_located, check_possible, check_products
from rsmeta.gis.postprocess.postprocess import Postprocess
from rsmeta.inference import sizing
from rsmeta.inference.model import choose_device, ready
from rsmeta.workflows.mapping.executors import connected, processes
from rsmeta.workflows.mapping.one_scene import PredictResult, map_scene
from rsmeta.workflows.mapping.postprocessed import check_postprocess, map_postprocessed
from rsmeta.workflows.mapping.progress import Progress
from rsmeta.workflows.mapping.request import (
    MapRequest,
    check_mappable,
    check_scene,
    extent_of,
    open_for,
)
from rsmeta.workflows.mapping.summary import write_summary
from rsmeta.workflows.mapping.worker import ModelReference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rsmeta.bundle import BundleRecord
    from rsmeta.config.load import Overrides
    from rsmeta.inference.scoring import Model
    from rsmeta.workflows.mapping.executors import Cluster

__all__ = ["PredictResult", "Progress", "predict"]

logger = logging.getLogger(__name__)

#: Side of the blocks that are tasks of Dask: small enough to share out evenly and to do again.
_TASK_PX = 1024


def predict(
    scenes: str | Path | Sequence[str | Path],
    bundle: str | Path | ModelBundle,
    *,
    output: str | Path | Products,
    summary: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    bounds: tuple[float, float, float, float] | None = None,
    mask: str | Path | None = None,
    refine: Postprocess | None = None,
    device: str = "auto",
    workers: int | None = None,
    dask: str | None = None,
    settings: Overrides = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> list[PredictResult]:
    """Map one or more scenes.

    Args:
        scenes: Files, folders, patterns, or lists of them (``@list.txt``).
        bundle: A bundle, or its folder.
        output: The map's file (one scene), or a folder for ``<scene>_map.tif`` each; or what
            else to make too: ``Products("map.tif", confidence="sure.tif")``.
        summary: File for what came of it, as JSON.
        overwrite: Replace files that exist.
        resume: Go on where an earlier call was interrupted; leave alone what it has finished.
        bounds: West, south, east, north in degrees (WGS 84): map this part only.
        mask: Polygons of any CRS: outside is nodata, and tiles without a pixel inside cost nothing.
        refine: What is made of the maps: a mosaic, another grid, majority, sieve.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: Compute in so many processes of this machine; with GPUs, each on one of them.
        dask: Compute on the workers of the scheduler at this address; they find bundle and scenes
            under the same paths.
        settings: ``KEY=VALUE`` strings, or a mapping, over the bundle's ``predict`` settings.
        on_progress: Called after each block, and while maps are refined or become polygons.

    Returns:
        One result per scene, in order.

    Raises:
        ScenesFailedError: Some of several scenes could not be mapped; it holds the results of
            the others.
        RsmetaError: Anything a user can mend: scene, bands, pixel size, bundle, output.
    """
    sources, failed = _sources([scenes] if isinstance(scenes, str | Path) else list(scenes))
    refine = refine or Postprocess()
    joint = refine.mosaic is not None
    alone = joint or len(sources) + len(failed) == 1
    names = _names(output, sources, count=len(sources) + len(failed), joint=joint)
    where = choose_device(device if dask is None else "cpu")  # elsewhere are other devices
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
    record = with_settings(loaded.record, settings)
    _check_task(record, names, refine=refine)
    if workers or dask:
        record = _in_shares(record, workers or 1, where)
    jobs: list[MapRequest] = []
    for source, products in zip(sources, names, strict=True):  # all of them before any work
        with _failing(source, failed, stop=alone):
            scene = open_for(source, record)
            check_scene(scene, record)
            check_located(products, scene.grid)
            extent = extent_of(scene.grid, bounds)
            area = read_aoi(mask, scene.grid.crop(extent), may_miss=joint) if mask else None
            job = MapRequest(
                scene, record, products, where, extent, overwrite, resume, loaded.path, area
            )  # fmt: skip
            if refine:
                check_postprocess([*jobs, job] if joint else [job], refine)
            jobs.append(job)
    tasks = [jobs] if joint else [[job] for job in jobs]
    _check_outputs([task[0].products for task in tasks], overwrite=overwrite, resume=resume)
    results = []
    with bounded_cache(), _computing(loaded, record, device, workers, dask) as model:
        for task in tasks:
            with _failing(task[0].scene.name, failed, stop=alone):
                made = (
                    map_postprocessed(model, task, refine, on_progress)
                    if refine
                    else map_scene(model, task[0], on_progress)
                )
                deliver(made.products)
                results.append(made)
    if summary is not None:
        write_summary(Path(summary), record, where, results, failed)
    if failed:
        raise ScenesFailedError(failed, results)
    return results


def _sources(given: Sequence[str | Path]) -> tuple[list[str | Path], dict[str, RsmetaError]]:
    """Return the scenes that are meant, each once, and what was given and leads to none."""
    found: dict[str, str | Path] = {}
    failed: dict[str, RsmetaError] = {}
    patterns = read_lists(given)
    for pattern in patterns:
        with _failing(pattern, failed, stop=len(patterns) == 1):
            for source in expand_sources([pattern]):
                found.setdefault(str(source), source)
    return list(found.values()), failed


def _names(
    output: str | Path | Products, sources: Sequence[str | Path], *, count: int, joint: bool
) -> list[Products]:
    """Return the files of each scene; a mosaic has one set of them."""
    wanted = output if isinstance(output, Products) else Products(output)
    if joint:
        return [wanted.of_scene("mosaic", scenes=1)] * len(sources)
    return [wanted.of_scene(scene_stem(source), scenes=count) for source in sources]


def _check_task(
    record: BundleRecord,
    names: Sequence[Products],
    *,
    refine: Postprocess,
) -> None:
    """Refuse what a model of this kind cannot give.

    Raises:
        ConfigError: It gives no map, or not on pixels, as is asked for.
        OutputError: It gives no probabilities, and they are asked for.
    """
    check_mappable(record)
    asked = {
        "--mosaic, --crs, --like, --majority, --sieve": bool(refine),
    }
    for options in (options for options, given in asked.items() if given):
        if record.per == "image":
            raise ConfigError(
                f"{options}: for models of pixels; this one maps cells of many; leave it away"
            )
    for products in names:
        check_possible(products, record.output)


def _check_outputs(products: Sequence[Products], *, overwrite: bool, resume: bool) -> None:
    """Refuse outputs that cannot be written; forget what an earlier run left and did not bring."""
    if not resume:
        for one in products:
            discard_undelivered(one)
    check_products(products, overwrite=overwrite or resume)


@contextlib.contextmanager
def _failing(source: str | Path, failed: dict[str, RsmetaError], *, stop: bool) -> Iterator[None]:
    """Note an error of one scene among many; let that of an only one pass (``stop``)."""
    try:
        yield
    except RsmetaError as error:
        if stop:
            raise
        logger.warning("%s is left out: %s", source, error)
        failed[str(source)] = error


def with_settings(record: BundleRecord, settings: Overrides) -> BundleRecord:
    """Return the record with some of its settings overruled."""
    chosen = overruled(record.predict, settings)
    if record.per == "image":
        return record.model_copy(update={"predict": chosen})
    if chosen.augment not in ("none", "flips", "all") or chosen.stride_px is not None:
        raise ConfigError(
            f"augment={chosen.augment}, stride_px={chosen.stride_px}: parts of a tile and cells "
            f"are for models of whole images; use augment=flips or all, and no stride_px"
        )
    if chosen.tile_px != record.predict.tile_px:
        raise ConfigError(
            f"tile_px={chosen.tile_px}: the model was trained for tiles of {record.tile_px} px; "
            f"leave tile_px away"
        )
    return record.model_copy(update={"predict": chosen})


def _in_shares(record: BundleRecord, workers: int, device: torch.device) -> BundleRecord:
    """Return the record with blocks of a size that several processes can have in memory at once."""
    settings = record.predict
    side_px = sizing.choose_block_px(
        device, bands=len(record.bands), classes=record.output.scores, tile_px=record.tile_px,
        free_bytes=sizing.free_memory_bytes() // workers,
    )  # fmt: skip
    chosen = settings.model_copy(update={"block_px": settings.block_px or min(side_px, _TASK_PX)})
    return record.model_copy(update={"predict": chosen})


@contextlib.contextmanager
def _computing(
    bundle: ModelBundle, record: BundleRecord, device: str, workers: int | None, dask: str | None
) -> Iterator[Model | Cluster]:
    """Give what computes blocks: the model here, or processes that have it."""
    if not workers and dask is None:
        with ready(bundle, record, choose_device(device)) as model:
            yield model
        return
    if workers and dask is not None:
        raise ConfigError("--workers starts processes and --dask uses others; give one of them")
    if bundle.path is None:
        raise BundleError("other processes load the bundle from its folder; save it, and give that")
    reference = ModelReference(bundle.path.absolute(), record, device)
    if dask is not None:
        with connected(dask, reference) as cluster:
            yield cluster
        return
    chosen = choose_device(device)
    gpus: Sequence[int] = ()
    if chosen.type == "cuda":
        gpus = range(torch.cuda.device_count()) if chosen.index is None else (chosen.index,)
    there = ModelReference(reference.bundle, record, chosen.type)  # each sees one GPU: its first
    with processes(workers or 1, there, gpus) as cluster:
        yield cluster
