"""Map scenes with a bundle: one or many, each on its own or into one map."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.config.load import overruled
from rsmeta.errors import AoiError, ConfigError, OutputError, RsmetaError, ScenesFailedError
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.inputs import check_not_an_input, raster_files
from rsmeta.geo.polygons import VectorFile
from rsmeta.geo.sources import expand_sources, list_file, read_lists, scene_stem
from rsmeta.geo.writer import check_output
from rsmeta.gis.outputs.delivery import deliver, discard_undelivered
from rsmeta.gis.outputs.products import Products, check_located, check_possible, check_products
from rsmeta.gis.postprocess.postprocess import Postprocess
from rsmeta.workflows.mapping.executors import Execution, executor_for
from rsmeta.workflows.mapping.old_keywords import accepts_old_keywords
from rsmeta.workflows.mapping.one_scene import PredictResult, map_scene
from rsmeta.workflows.mapping.parts import check_part
from rsmeta.workflows.mapping.postprocessed import check_postprocess, map_postprocessed
from rsmeta.workflows.mapping.progress import Progress
from rsmeta.workflows.mapping.request import (
    AreaOfInterest,
    check_mappable,
    request_for,
)
from rsmeta.workflows.mapping.summary import write_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from rsmeta.bundle import BundleRecord
    from rsmeta.config.load import Overrides
    from rsmeta.config.predict import PredictSettings
    from rsmeta.workflows.mapping.executors import DaskExecutor, LocalExecutor
    from rsmeta.workflows.mapping.parts import Part
    from rsmeta.workflows.mapping.request import Bounds, IfExists, MapRequest

__all__ = ["AreaOfInterest", "Execution", "PredictResult", "Progress", "predict"]

logger = logging.getLogger(__name__)


@accepts_old_keywords
def predict(
    scenes: str | Path | Sequence[str | Path],
    bundle: str | Path | ModelBundle,
    *,
    output: str | Path | Products,
    aoi: AreaOfInterest | Bounds | str | Path | None = None,
    postprocess: Postprocess | None = None,
    execution: Execution | str | None = None,
    if_exists: IfExists = "error",
    settings: Overrides = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> list[PredictResult]:
    """Map one or more scenes.

    Args:
        scenes: Files, folders, patterns, or lists of them (``@list.txt``).
        bundle: A bundle, or its folder.
        output: The map's file (one scene), or a folder for ``<scene>_map.tif`` each; or all the
            files to write: ``Products("map.tif", confidence="sure.tif")``.
        aoi: Part to map: (west, south, east, north) in degrees (WGS 84), a file of polygons of
            any CRS, or both as an ``AreaOfInterest``.
        postprocess: What is made of the maps: a mosaic, another grid, majority, sieve.
        execution: Where to compute: a device by its name, or an ``Execution``.
        if_exists: ``error``; ``overwrite``; or ``resume``: continue what an earlier call has
            begun, and leave what it has finished.
        settings: A mapping, or ``KEY=VALUE`` strings, over the bundle's ``predict`` settings.
        on_progress: Called after each block, and while maps are postprocessed or vectorised.

    Returns:
        One result per scene, in order; one in all for a mosaic.

    Raises:
        ScenesFailedError: Some of several scenes could not be mapped; it holds the results of
            the others.
        RsmetaError: Anything a user can mend: scene, bands, pixel size, bundle, output.
    """
    products = output if isinstance(output, Products) else Products(output)
    wanted, where = postprocess or Postprocess(), Execution.of(execution)
    given = [scenes] if isinstance(scenes, str | Path) else list(scenes)
    sources, failed = _sources(given)
    joint = wanted.mosaic is not None
    alone = joint or len(sources) + len(failed) == 1
    area = AreaOfInterest.of(aoi)
    named = _names(products, sources, count=len(sources) + len(failed), joint=joint)
    if area.strip is not None:
        named = [area.strip.products(files) for files in named]
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle, to_apply=True)
    record = with_settings(loaded.record, settings)
    _check_task(record, named, wanted)
    check_part(area.strip, record, wanted)
    block_px = where.block_px(record)
    requests: list[MapRequest] = []
    for source, files in zip(sources, named, strict=True):  # all of them before any work
        with _failing(source, failed, stop=alone):
            request = request_for(
                source, loaded, record, files, area=area, may_miss=joint, block_px=block_px,
                if_exists=if_exists,
            )  # fmt: skip
            if wanted:
                check_postprocess([*requests, request] if joint else [request], wanted)
            else:
                check_located(files, request.grid)
            requests.append(request)
    groups = [requests] if joint else [[request] for request in requests]
    inputs = _inputs(given, sources) | _inputs_of_maps(requests, area, wanted)
    _check_outputs([group[0].products for group in groups], area.strip, if_exists, inputs)
    results = []
    with bounded_cache(), executor_for(loaded, record, where) as executor:
        for group in groups:
            with _failing(group[0].scene.name, failed, stop=alone):
                results.append(_mapped(executor, group, wanted, on_progress))
                if area.strip is not None:
                    area.strip.join(group[0], area.whole_extent(group[0].scene.grid))
    if products.summary is not None:
        write_summary(Path(products.summary), record, executor.device, results, failed)
    if failed:
        raise ScenesFailedError(failed, results)
    return results


def _mapped(
    executor: LocalExecutor | DaskExecutor,
    requests: Sequence[MapRequest],
    wanted: Postprocess,
    on_progress: Callable[[Progress], None] | None,
) -> PredictResult:
    """Make one map, of one scene or of several, and deliver it."""
    if wanted:
        result = map_postprocessed(executor, requests, wanted, on_progress)
    else:
        result = map_scene(executor, requests[0], on_progress)
    deliver(result.products)
    return result


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
    output: Products, sources: Sequence[str | Path], *, count: int, joint: bool
) -> list[Products]:
    """Return the files of each scene; a mosaic has one set of them."""
    if joint:
        return [output.of_scene("mosaic", scenes=1)] * len(sources)
    return [output.of_scene(scene_stem(source), scenes=count) for source in sources]


def _check_task(record: BundleRecord, names: Sequence[Products], wanted: Postprocess) -> None:
    """Refuse what the model cannot give.

    Raises:
        ConfigError: It gives no map, or none of pixels, which postprocessing needs.
        OutputError: It gives no probabilities, and they are asked for.
    """
    check_mappable(record)
    if wanted and record.per != "pixel":
        raise ConfigError(
            "--mosaic, --crs, --like, --majority and --sieve apply to models of pixels, and this "
            "one gives one value per patch; omit them"
        )
    for products in names:
        check_possible(products, record.output)


def _inputs(given: Sequence[str | Path], sources: Sequence[str | Path]) -> set[str | Path]:
    """Return the lists of scenes, and the documents and files that name or hold them."""
    lists = {file for file in map(list_file, given) if file is not None}
    return lists | {str(source).partition("#")[0] for source in sources}


def _inputs_of_maps(
    requests: Sequence[MapRequest], area: AreaOfInterest, wanted: Postprocess
) -> set[str | Path]:
    """Return the files that maps are made from: of scenes, polygons, a grid and the model."""
    found: set[str | Path] = set()
    for request in requests:
        found |= raster_files(request.scene.source)
    if area.polygons is not None:
        found.add(VectorFile(area.polygons, error=AoiError).path)
    if wanted.like is not None:
        found |= raster_files(wanted.like)
    models = {request.model for request in requests if isinstance(request.model, Path)}
    return found | models | {file for one in requests for file in one.record.model.checkpoints}


def _check_outputs(
    products: Sequence[Products],
    part: Part | None,
    if_exists: IfExists,
    inputs: Collection[str | Path],
) -> None:
    """Refuse outputs that cannot be written; remove what an earlier run has not delivered."""
    summaries = {one.summary for one in products if one.summary is not None}
    outputs = [output.destination for one in products for output in one.everything]
    joined = [path for one in products if part is not None for path in part.joined(one).values()]
    check_not_an_input([*outputs, *summaries, *joined], inputs)
    for path in joined:
        check_output(path, overwrite=if_exists != "error")
    for summary in map(Path, summaries):
        if summary.resolve() in {Path(output).resolve() for output in outputs}:
            raise OutputError(f"{summary} would be written twice; name different files")
        check_output(summary, overwrite=if_exists != "error")
    if not if_exists.startswith("resume"):
        for one in products:
            discard_undelivered(one)
    check_products(products, overwrite=if_exists != "error")


@contextlib.contextmanager
def _failing(source: str | Path, failed: dict[str, RsmetaError], *, stop: bool) -> Iterator[None]:
    """Note the error of one scene among many; let that of a single one pass (``stop``)."""
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
            f"augment={chosen.augment}, stride_px={chosen.stride_px}: crops and strides apply to "
            f"models of whole images; use augment=flips or all, and omit stride_px"
        )
    if chosen.tile_px in (None, record.predict.tile_px):
        return record.model_copy(update={"predict": chosen})
    return _with_larger_tiles(record, chosen, chosen.tile_px)


def _with_larger_tiles(record: BundleRecord, chosen: PredictSettings, tile_px: int) -> BundleRecord:
    """Return the record with larger tiles, which overlap by as many pixels unless told otherwise.

    Raises:
        ConfigError: They are smaller than those of training.
    """
    if tile_px < record.tile_px:
        raise ConfigError(
            f"tile_px={tile_px}: the model was trained for tiles of {record.tile_px} px; give at "
            f"least as many, or omit tile_px"
        )
    if chosen.overlap == record.predict.overlap:
        overlap_px = int(record.tile_px * chosen.overlap)
        # Half a pixel more, so that rounding leaves no pixel less.
        chosen = chosen.model_copy(update={"overlap": (overlap_px + 0.5) / tile_px})
    return record.model_copy(update={"predict": chosen, "tile_px": tile_px})
