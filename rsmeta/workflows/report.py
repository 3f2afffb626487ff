"""Write a self-contained HTML report of a training run, a map, or both."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta.bundle.find import RECORD_FILE, WEIGHTS_FILE
from rsmeta.errors import BandsUnrecognisedError, ConfigError, RsmetaError, SceneError
from rsmeta.geo.handles import bounded_cache, open_raster
from rsmeta.geo.inputs import check_not_an_input, raster_files
from rsmeta.geo.metadata import plain_tags
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.geo.writer import check_output
from rsmeta.gis import tags
from rsmeta.gis.class_map import open_class_map
from rsmeta.gis.page.layers import read_layers
from rsmeta.gis.page.map_view import area_text, class_view, quantity_view
from rsmeta.gis.page.page import Page, render
from rsmeta.gis.page.scores import score_view
from rsmeta.gis.quantity_map import QuantityMap, holds_quantity, open_quantity_map
from rsmeta.workflows.evaluate_map import evaluate_map
from rsmeta.workflows.inspect_data import open_numbered
from rsmeta.workflows.run_folder import CONFIG_FILE, RUN_FILES, write_text
from rsmeta.workflows.run_report import RunStory, open_run, run_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.class_map import ClassMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MapSources:
    """Files shown with a map in its report.

    Attributes:
        scene: Imagery below the map; default: the map's source scene, if it is in the same folder.
        confidence: Raster of the largest probability; default: the file that rsmeta wrote beside
            the map.
        reference: Labels or points to compare the map with.
        class_column: Column of polygons or points that holds the class name or value.
        ignore: Reference values that mean "no label".
    """

    scene: str | Path | None = None
    confidence: str | Path | None = None
    reference: str | Path | None = None
    class_column: str | None = None
    ignore: Sequence[float | str] = ()


def report(
    *paths: str | Path,
    output: str | Path | None = None,
    sources: MapSources | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an HTML report that needs no other file and no network.

    Args:
        paths: A run folder (or a bundle), a map, or one of each.
        output: HTML file; default: ``report.html`` in the run folder, or the map's name with
            ``.html``.
        sources: Files shown with the map.
        overwrite: Replace an existing file.

    Returns:
        Path of the report.

    Raises:
        RsmetaError: An input cannot be read, or the report cannot be written.
    """
    folders = [Path(path) for path in paths if Path(path).is_dir()]
    maps = [Path(path) for path in paths if not Path(path).is_dir()]
    if not paths or len(folders) > 1 or len(maps) > 1:
        raise RsmetaError("a report takes one run folder, one map, or one of each")
    run = open_run(folders[0]) if folders else None
    page_file = Path(output) if output is not None else _default_output(folders, maps)
    check_output(page_file, overwrite=overwrite)
    check_not_an_input([page_file], _inputs(folders, maps, sources or MapSources()))
    if maps:
        with bounded_cache():
            page = _map_page(maps[0], sources or MapSources(), run)
    else:
        assert run is not None
        page = Page(run.title, "Training run", facts=run_facts(run), **run.parts)
    write_text(page_file, render(page))
    return page_file


def _inputs(folders: Sequence[Path], maps: Sequence[Path], sources: MapSources) -> list[str | Path]:
    """Return the files that a report is made from."""
    rasters = [*maps, *(one for one in (sources.scene, sources.confidence) if one is not None)]
    found = [file for raster in rasters for file in raster_files(raster)]
    if sources.reference is not None:
        found.append(str(sources.reference).partition("|")[0])
    names = (*RUN_FILES, CONFIG_FILE, RECORD_FILE, WEIGHTS_FILE)
    return [*found, *(folder / name for folder in folders for name in names)]


def _default_output(folders: Sequence[Path], maps: Sequence[Path]) -> Path:
    return maps[0].with_suffix(".html") if maps else folders[0] / "report.html"


def _map_page(path: Path, sources: MapSources, run: RunStory | None) -> Page:
    shown = _open_map(path, sources)
    carried = plain_tags(open_raster(str(path)))
    if run is not None and carried.get(tags.MODEL) != run.record.weights_sha256:
        logger.warning("%s was made by a different model than that of %s", path, run.folder)
    scene = _scene_of(path, carried.get(tags.SOURCE), sources.scene, run)
    imagery_name = "" if scene is None else Path(scene.name).name
    if isinstance(shown, QuantityMap):
        spread = shown.spread()
        area_m2 = spread.area_m2
        layers = read_layers(shown, spread.span, scene=scene)
        view, drawn = quantity_view(shown, spread, layers, imagery_name=imagery_name)
    else:
        cover = shown.cover()
        area_m2 = None if cover.areas_m2 is None else sum(cover.areas_m2)
        layers = read_layers(
            shown, scene=scene, confidence=_confidence_of(path, sources.confidence)
        )
        view, drawn = class_view(shown, cover, layers, imagery_name=imagery_name)
    story = {} if run is None else dict(run.parts)
    provenance = [*_map_provenance(shown, carried), *story.pop("provenance", ())]
    return Page(
        title=path.stem, kind="Map", facts=_map_facts(shown.grid, area_m2), map=view, layers=drawn,
        accuracy=_accuracy(path, sources), provenance=provenance, **story,
    )  # fmt: skip


def _open_map(path: Path, sources: MapSources) -> ClassMap | QuantityMap:
    if not holds_quantity(path):
        return open_class_map(path)
    class_only = {"--reference": sources.reference, "--confidence": sources.confidence}
    for option in (option for option, given in class_only.items() if given is not None):
        raise ConfigError(f"{option} needs a class map, but {path} holds numbers; omit it")
    return open_quantity_map(path)


def _scene_of(
    path: Path, source: str | None, given: str | Path | None, run: RunStory | None
) -> Scene | None:
    """Return the imagery of a map: the given scene, else its source if in the same folder."""
    rules = None if run is None else run.record.read.rules
    if given is not None:
        return _open_imagery(given, rules)
    # Only a bare name: a tag must not make us open files elsewhere.
    is_name = source is not None and Path(source).name == source
    beside = path.with_name(source) if source is not None and is_name else None
    if beside is None or not beside.is_file():
        logger.info("the report shows no imagery; name the scene with --scene to include it")
        return None
    try:
        return _open_imagery(beside, rules)
    except SceneError as error:
        logger.warning("the report shows no imagery: %s", error)
        return None


def _open_imagery(source: str | Path, rules: ReadRules | None) -> Scene:
    """Open a scene for display; bands without names are numbered."""
    for attempt in (rules, None):
        with contextlib.suppress(BandsUnrecognisedError, ConfigError):
            return open_scene(source, attempt)
    return open_numbered(source)


def _confidence_of(path: Path, given: str | Path | None) -> Path | None:
    if given is not None:
        return Path(given)
    if not path.stem.endswith("map"):
        return None
    own = path.with_name(f"{path.stem.removesuffix('map')}confidence{path.suffix}")
    return own if own.is_file() else None


def _accuracy(path: Path, sources: MapSources) -> dict[str, Any] | None:
    if sources.reference is None:
        return None
    accuracy = evaluate_map(
        path, sources.reference, class_column=sources.class_column, ignore=sources.ignore
    )
    in_m2 = accuracy.mapped_areas_m2 is not None
    unit = "points" if accuracy.reference == "points" else "pixels"
    return {
        **accuracy.as_dict(),
        "scores": score_view(accuracy.as_dict(), unit),
        "reference_name": Path(sources.reference).name,
        "unit": unit,
        "area_unit": "ha" if in_m2 else "% of map",
        "area_scale": 1e-4 if in_m2 else 100.0,
    }


def _map_facts(grid: Grid, area_m2: float | None) -> list[dict[str, str]]:
    facts = [("pixels", f"{grid.width_px:,} by {grid.height_px:,}")]
    if grid.gsd_m is not None:
        facts.append(("m pixels", f"{grid.gsd_m:.3g}"))
    if area_m2 is not None:
        facts.append(("mapped", area_text(area_m2)))
    if grid.crs is not None:
        facts.append(("", _crs_name(grid)))
    return [{"name": name, "value": value} for name, value in facts]


def _crs_name(grid: Grid) -> str:
    crs = grid.crs
    code = None if crs is None else crs.to_epsg()
    return f"EPSG:{code}" if code else "" if crs is None else str(crs.to_dict().get("proj", "CRS"))


def _map_provenance(shown: ClassMap | QuantityMap, carried: dict[str, str]) -> list[dict[str, str]]:
    grid = shown.grid
    left, bottom, right, top = grid.bounds
    digits = 6 if grid.crs is not None and grid.crs.is_geographic else 2
    facts = {
        "map": Path(shown.path).name,
        "source scene": carried.get(tags.SOURCE),
        "scene acquired": carried.get(tags.ACQUIRED),
        "mapped on": carried.get(tags.MADE),
        "mapped with": carried.get(tags.SOFTWARE),
        "model (SHA-256)": carried.get(tags.MODEL),
        "CRS": "none" if grid.crs is None else _crs_name(grid),
        "bounds": ", ".join(f"{n:.{digits}f}" for n in (left, bottom, right, top)),
    }
    return [{"name": name, "value": value} for name, value in facts.items() if value]
