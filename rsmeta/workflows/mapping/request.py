"""A checked request to map one scene."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from rsmeta.errors import (
    BandsUnrecognisedError,
    ConfigError,
    GridMismatchError,
    SceneError,
    counted,
)
from rsmeta.files import partial_folder
from rsmeta.geo.aoi import read_aoi
from rsmeta.geo.handles import other_georeferencing
from rsmeta.geo.patches import PatchPlan
from rsmeta.geo.reprojection import window_of
from rsmeta.geo.rules import ReadRules
from rsmeta.geo.scene import open_scene
from rsmeta.geo.tiling import TilePlan
from rsmeta.workflows.mapping.fingerprint import begun_block_px
from rsmeta.workflows.mapping.parts import Part
from rsmeta.workflows.mapping.plausibility import check_range

if TYPE_CHECKING:
    from rasterio.windows import Window

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.geo.aoi import Aoi
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.plan import MapPlan
    from rsmeta.geo.raster_source import AnySource
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.outputs.products import Products

logger = logging.getLogger(__name__)

Bounds: TypeAlias = tuple[float, float, float, float]
#: What to do where outputs exist. ``resume``: leave finished maps alone and continue begun ones;
#: ``resume or overwrite``: likewise, and replace maps of another model or extent.
IfExists: TypeAlias = Literal["error", "overwrite", "resume", "resume or overwrite"]

#: A scene's pixels may be this many times finer or coarser than the trained ones, not more.
LARGEST_GSD_RATIO = 4.0


@dataclass(frozen=True)
class AreaOfInterest:
    """Which part of scenes to map.

    Attributes:
        bounds: West, south, east, north in degrees (WGS 84): the map ends there.
        polygons: File of polygons of any CRS: outside is nodata, and tiles without a pixel inside
            cost nothing.
        part: One of several strips of the map, as ``"2/8"``; a VRT joins their files.
    """

    bounds: Bounds | None = None
    polygons: str | Path | None = None
    part: Part | str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.part, str):
            object.__setattr__(self, "part", Part.of(self.part))

    @classmethod
    def of(cls, given: AreaOfInterest | Bounds | str | Path | None) -> AreaOfInterest:
        """Return an area given as bounds, as a file of polygons, or as it is."""
        if isinstance(given, AreaOfInterest):
            return given
        if isinstance(given, str | Path):
            return cls(polygons=given)
        return cls(bounds=None if given is None else tuple(given))  # type: ignore[arg-type]

    def extent(self, grid: Grid) -> Window:
        """Return the part of a grid to map, in whole pixels."""
        whole = self.whole_extent(grid)
        return whole if self.strip is None else self.strip.window(whole)

    @property
    def strip(self) -> Part | None:
        """The part to map; none: everything."""
        return None if self.part is None else Part.of(self.part)

    def whole_extent(self, grid: Grid) -> Window:
        """Return the part of a grid inside the bounds, in whole pixels."""
        if self.bounds is None:
            return grid.full_window
        if grid.crs is None:
            raise GridMismatchError("--bounds needs a scene with a CRS; this one has none")
        west, south, east, north = self.bounds
        width, most = (east - west, 360) if east > west else (east - west + 360, 180)
        if not (0 < width <= most and -90 <= south < north <= 90):
            raise GridMismatchError(
                f"--bounds {self.bounds} are not W S E N in degrees (W is greater than E only "
                f"over the antimeridian)"
            )
        window = window_of(grid, self.bounds)
        if window is None:
            raise GridMismatchError(
                f"--bounds {self.bounds} do not meet the scene {grid.bounds_lonlat()}"
            )
        return window

    def polygons_on(self, grid: Grid, *, may_miss: bool) -> Aoi | None:
        """Return the polygons, if there are any, in the CRS of a grid."""
        if self.polygons is None:
            return None
        return read_aoi(self.polygons, grid, may_miss=may_miss)


@dataclass(frozen=True, kw_only=True)
class BlockRequest:
    """What every block of a map is computed from, in whatever process; can be pickled.

    Attributes:
        scene: The scene, with the model's bands.
        record: The model; its settings are those to map with.
        model: Its folder, or the bundle itself, which then travels along.
        plan: How the scene is cut.
        aoi: Pixels outside are not mapped; none: all are.
    """

    scene: Scene
    record: BundleRecord
    model: Path | ModelBundle
    plan: MapPlan
    aoi: Aoi | None = None

    @property
    def grid(self) -> Grid:
        """Grid of the map."""
        return self.plan.grid

    @property
    def spill_folder(self) -> Path | None:
        """Folder for what does not fit into memory; none: the system's for temporary files."""
        return None


@dataclass(frozen=True, kw_only=True)
class MapRequest(BlockRequest):
    """A checked request to map one scene into files.

    Attributes:
        products: The files to write.
        if_exists: What to do where they exist.
        may_be_empty: Whether a map without a pixel is no error, as it is a part of another map.
    """

    products: Products
    if_exists: IfExists = "error"
    may_be_empty: bool = False

    @property
    def spill_folder(self) -> Path:
        """The hidden folder in which the map grows."""
        return partial_folder(self.products.files["map"])

    @property
    def resume(self) -> bool:
        """Whether to continue what an interrupted run has begun."""
        return self.if_exists.startswith("resume")

    @property
    def may_replace(self) -> bool:
        """Whether files that exist may be replaced."""
        return self.if_exists != "error"


def request_for(
    source: AnySource,
    bundle: ModelBundle,
    record: BundleRecord,
    products: Products,
    *,
    area: AreaOfInterest,
    may_miss: bool,
    block_px: int,
    if_exists: IfExists,
) -> MapRequest:
    """Open a scene and check that it can be mapped.

    Args:
        source: The scene.
        bundle: The model.
        record: Its record, with the settings to map with.
        products: The files to write.
        area: Part of the scene to map.
        may_miss: Whether the polygons of ``area`` may lie outside the scene, or outside its part.
        block_px: Side of a block, unless an interrupted run has begun with another.
        if_exists: What to do where files exist.

    Raises:
        RsmetaError: The scene cannot be read, or does not fit the model or the area.
    """
    scene = open_for(source, record)
    check_scene(scene, record)
    extent = area.extent(scene.grid)
    check_range(scene, record, extent)
    if if_exists.startswith("resume") and record.predict.block_px is None:
        block_px = begun_block_px(products) or block_px
    return MapRequest(
        scene=scene, record=record, model=bundle.path or bundle, products=products,
        plan=plan_for(record, scene.grid, extent, block_px), if_exists=if_exists,
        aoi=area.polygons_on(scene.grid.crop(extent), may_miss=may_miss or area.part is not None),
        may_be_empty=area.part is not None,
    )  # fmt: skip


def plan_for(record: BundleRecord, grid: Grid, extent: Window, block_px: int) -> MapPlan:
    """Return how a scene is cut for a model.

    Args:
        record: The model, with the settings to map with.
        grid: The scene's grid.
        extent: Part of it to map.
        block_px: Side of a block.

    Raises:
        ConfigError: How many pixels an image covers is unknown.
    """
    settings = record.predict
    if record.per == "pixel":
        return TilePlan(
            scene_grid=grid, extent=extent, tile_px=record.tile_px, block_px=block_px,
            overlap_px=int(record.tile_px * settings.overlap),
        )  # fmt: skip
    image = record.image
    tile_px = settings.tile_px or (image.ground_px if image else record.tile_px)
    if tile_px is None:
        raise ConfigError(
            "the model was trained on images of different sizes; say how many of the scene's "
            "pixels one image covers, with --set tile_px=N"
        )
    return PatchPlan(
        scene_grid=grid, extent=extent, tile_px=tile_px, block_px=block_px,
        stride_px=settings.stride_px or tile_px,
    )  # fmt: skip


def open_for(source: AnySource, record: BundleRecord) -> Scene:
    """Open a scene with the bands of a model, matched by name.

    What the scene says of itself counts; what held for the training scenes fills the gaps.

    Args:
        source: The scene.
        record: The model; its ``predict.sensor`` is the scene's, where the user names it.

    Raises:
        SceneError: It cannot be read, or lacks a band.
    """
    wanted = [band.band for band in record.bands]
    sensor, fallback = record.predict.sensor, record.read.rules
    if sensor is not None:
        fallback = replace(fallback, sensor=None, bands=None, scale=None, offset=None)
    try:
        rules = ReadRules(sensor=sensor)
        scene = open_scene(source, rules, wanted=wanted, fallback=fallback)
    except BandsUnrecognisedError as error:
        names = ", ".join(band.name for band in wanted)
        trained, other = record.read.bands, ""
        if isinstance(trained, tuple) and len(trained) != len(error.found):
            number = counted(len(trained), "band")
            other = f"the model was trained on files of {number}: give such a file, or "
        raise BandsUnrecognisedError(
            error.source, error.found, error.fits,
            f"{other}describe its bands in the file, so that {names} can be found among them, or "
            f"name its sensor with --sensor",
        ) from error  # fmt: skip
    return scene.select(wanted)


def check_scene(scene: Scene, record: BundleRecord) -> None:
    """Compare a scene's pixel size with those trained on.

    Raises:
        SceneError: The pixels are more than four times finer or coarser.
    """
    _check_place(scene)
    size = scene.grid.gsd_m
    if size is None or record.gsd_m is None:
        return
    low, high = record.gsd_m
    ratio = max(low / size, size / high, 1.0)
    if ratio <= 1.05:
        return
    trained = f"{low:.3g} m" if high / low < 1.05 else f"{low:.3g} to {high:.3g} m"
    kind = "finer" if size < low else "coarser"
    message = (
        f"{scene.name} has pixels of {size:.3g} m, {ratio:.1f} times {kind} than the "
        f"trained {trained}"
    )
    if ratio > LARGEST_GSD_RATIO:
        raise SceneError(f"{message}; resample it to within {LARGEST_GSD_RATIO:g} times first")
    logger.warning("%s; expect worse results", message)


def _check_place(scene: Scene) -> None:
    """Warn of what a map does not take over of the place of its scene."""
    also = other_georeferencing(scene.source)
    lost = f"; its {also} are not carried into the map, so warp the scene first" if also else ""
    if scene.grid.crs is None:
        logger.warning("%s has no CRS; its map will have none either%s", scene.name, lost)
    elif lost:
        logger.warning("%s has a CRS%s if they are more exact", scene.name, lost)
    elif scene.grid.bounds_lonlat() is None:
        logger.warning(
            "%s: its CRS is not tied to the Earth; its map has it too, and no footprint", scene.name
        )


def check_mappable(record: BundleRecord) -> None:
    """Refuse models that give no map.

    Raises:
        ConfigError: It gives several labels to one place.
    """
    if record.task == "multilabel":
        raise ConfigError(
            "a multilabel model gives any number of labels to a place, and a map holds one; label "
            "images with it: --output LABELS.csv"
        )
