"""Map scenes with a bundle: one or many, and what came of it."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.config.load import overruled
from rsmeta.errors import (
    ConfigError,
    RsmetaError,
    ScenesFailedError,
    enumerate_names,
)
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.sources import expand_sources, read_lists, scene_stem
from rsmeta.gis.delivery import deliver, forget
from rsmeta.gis.products import Products, check_possible, check_products
from rsmeta.inference.augment import augmented
from rsmeta.inference.views import averaged, of_size
from rsmeta.peft import is_merged, merge, unmerge
from rsmeta.workflows.scene_map import (
    Job,
    PredictResult,
    Progress,
    check_scene,
    extent_of,
    map_scene,
    open_for,
)
from rsmeta.workflows.summary import write_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rsmeta.bundle import BundleRecord
    from rsmeta.inference.augment import Augment
    from rsmeta.inference.scoring import Model

__all__ = ["PredictResult", "Progress", "choose_device", "open_for", "predict"]

logger = logging.getLogger(__name__)


def predict(
    scenes: str | Path | Sequence[str | Path],
    bundle: str | Path | ModelBundle,
    *,
    output: str | Path | Products,
    summary: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    bounds: tuple[float, float, float, float] | None = None,
    device: str = "auto",
    settings: Sequence[str] = (),
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
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: ``KEY=VALUE`` strings that overrule the bundle's ``predict`` settings.
        on_progress: Called after each block.

    Returns:
        One result per scene, in order.

    Raises:
        ScenesFailedError: Some of several scenes could not be mapped; it holds the results of
            the others.
        RsmetaError: Anything a user can mend: scene, bands, pixel size, bundle, output.
    """
    sources, failed = _sources([scenes] if isinstance(scenes, str | Path) else list(scenes))
    single = len(sources) + len(failed) == 1
    wanted = output if isinstance(output, Products) else Products(output)
    names = [wanted.of_scene(scene_stem(s), scenes=len(sources) + len(failed)) for s in sources]
    where = choose_device(device)
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
    record = with_settings(loaded.record, settings)
    if record.task == "multilabel":
        raise ConfigError(
            "a multilabel model gives any number of labels to a place, and a map holds one; label "
            "images with it: --output LABELS.csv"
        )
    check_possible(wanted, record.output)
    jobs = []
    for source, products in zip(sources, names, strict=True):  # all of them before any work
        with _failing(source, failed, stop=single):
            scene = open_for(source, record)
            check_scene(scene, record)
            extent = extent_of(scene.grid, bounds)
            jobs.append(Job(scene, record, products, where, extent, overwrite, resume, loaded.path))
    for path in (
        ()
        if resume
        else (path for job in jobs for path in (*job.products.paths, *job.products.beside))
    ):
        forget(path)
    check_products([job.products for job in jobs], overwrite=overwrite or resume)
    results = []
    with bounded_cache(), ready(loaded, record, where) as model:
        for job in jobs:
            with _failing(job.scene.name, failed, stop=single):
                results.append(map_scene(model, job, on_progress))
                deliver(job.products.files)
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


def with_settings(record: BundleRecord, settings: Sequence[str]) -> BundleRecord:
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


@contextlib.contextmanager
def ready(bundle: ModelBundle, record: BundleRecord, device: torch.device) -> Iterator[Model]:
    """Give the network as the task's probabilities or numbers, its adapters merged meanwhile."""
    network = bundle.network.eval().to(device)
    task = record.made_task
    reduced = record.predict.precision == "bfloat16"

    def probabilities(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            scores: torch.Tensor = network(image, valid)
        return task.activate(scores)

    fresh = not is_merged(network)
    if fresh and (left := merge(network).left):
        logger.info("%d adapters run as they are: %s", len(left), enumerate_names(left, 3))
    views = record.predict.augment
    try:
        if record.per == "image":
            yield averaged(of_size(probabilities, record.tile_px), views)
        else:
            yield augmented(probabilities, cast("Augment", views))
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
