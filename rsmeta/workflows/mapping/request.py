"""What mapping a scene is determined by: scene, model, extent, products; checked at first."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rsmeta._version import __version__
from rsmeta.errors import (
    BandsUnrecognisedError,
    ConfigError,
    GridMismatchError,
    OutputError,
    SceneError,
)
from rsmeta.files import partial_folder
from rsmeta.geo.handles import file_states, open_raster
from rsmeta.geo.patches import PatchPlan
from rsmeta.geo.reprojection import window_of
from rsmeta.geo.scene import open_scene
from rsmeta.geo.tiling import TilePlan
from rsmeta.gis import tags
from rsmeta.inference import sizing

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from rasterio.windows import Window

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.aoi import Area
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.raster_source import AnySource
    from rsmeta.geo.scene import Scene
    from rsmeta.gis.outputs.products import Products

logger = logging.getLogger(__name__)

#: A scene's pixels may be this many times finer or coarser than the trained ones, not more.
LARGEST_GSD_RATIO = 4.0

WGS84 = "EPSG:4326"


def open_for(source: AnySource, record: BundleRecord) -> Scene:
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


def extent_of(grid: Grid, bounds: tuple[float, float, float, float] | None) -> Window:
    """Return the part of a grid to map, as a window of whole pixels inside it."""
    if bounds is None:
        return grid.full_window
    if grid.crs is None:
        raise GridMismatchError("--bounds needs a scene with a CRS; this one has none")
    west, south, east, north = bounds
    width = east - west if east > west else east - west + 360
    if not (0 < width <= (360 if east > west else 180) and -90 <= south < north <= 90):
        raise GridMismatchError(
            f"--bounds {bounds} are not W S E N in degrees (W is greater than E only over the "
            f"antimeridian)"
        )
    window = window_of(grid, bounds)
    if window is None:
        raise GridMismatchError(f"--bounds {bounds} do not meet the scene {grid.bounds_lonlat()}")
    return window


@dataclass(frozen=True)
class MapRequest:
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

    def cells(self, block_px: int) -> PatchPlan:
        """Return the cells that a model of whole images maps, in blocks of at most ``block_px``.

        Raises:
            ConfigError: It is not known how much ground an image covers.
        """
        return cells_for(self.record, self.extent, block_px)

    @property
    def is_done(self) -> bool:
        """Whether an earlier run has left nothing to resume.

        Raises:
            OutputError: The map that is there was made by another model or on another grid.
        """
        outputs = self.products.outputs
        begun = any(partial_folder(output.local).exists() for output in outputs.values())
        if not self.resume or begun or not all(output.exists for output in outputs.values()):
            return False
        made = outputs["map"]
        found = open_raster(str(made.local) if made.local.is_file() else made.destination)
        same = found.tags().get(tags.MODEL) == self.record.weights_sha256
        if same and (found.transform, found.shape) == (self.grid.transform, self.grid.shape):
            return True
        if self.overwrite:
            return False
        raise OutputError(
            f"{made.destination} was made by another model or for another extent; choose "
            f"another name or give --overwrite"
        )


def plan_for(
    scene: Scene, record: BundleRecord, device: torch.device, *, begun_px: int | None = None
) -> TilePlan:
    """Return how a scene is cut for a model.

    Args:
        scene: The scene.
        record: The model, with the settings to map with.
        device: Where it is.
        begun_px: Side of the blocks that there are already; none: there are none.
    """
    settings = record.predict
    block_px = settings.block_px or begun_px
    if block_px is None:
        block_px = sizing.choose_block_px(
            device, bands=len(record.bands), classes=record.output.scores, tile_px=record.tile_px,
            free_bytes=sizing.free_memory_bytes(),
        )  # fmt: skip
    overlap_px = int(record.tile_px * settings.overlap)
    return TilePlan(*scene.grid.shape, record.tile_px, overlap_px, block_px)


def cells_for(record: BundleRecord, extent: Window, block_px: int) -> PatchPlan:
    """Return the cells of an extent that a model of whole images maps.

    Args:
        record: The model, with the settings to map with.
        extent: Part of a scene, in its pixels.
        block_px: Side of the ground of a block, at most.

    Raises:
        ConfigError: It is not known how much ground an image covers.
    """
    image, asked = record.image, record.predict
    tile_px = asked.tile_px or (image.ground_px if image else record.tile_px)
    if tile_px is None:
        raise ConfigError(
            "the model was trained on images of different sizes; say how many of the scene's "
            "pixels one image covers, with --set tile_px=N"
        )
    return PatchPlan(extent, tile_px, asked.stride_px or tile_px, block_px)


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


def resume_fingerprint(job: MapRequest, block_px: int) -> dict[str, Any]:
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
        "version of rsmeta": __version__,
        "model": model.hexdigest(),
        "scene": {**reading, "source": scene.source.identity, "files": file_states(scene.source)},
        "extent": [int(n) for n in job.extent.flatten()],
        "mask": None if job.area is None else job.area.sha256,
        "setting": {"tile_px": record.tile_px, **chosen, "block_px": block_px},
        "list of outputs": [path.name for path in job.products.paths],
        "type of probabilities": job.products.probabilities_type,
    }
