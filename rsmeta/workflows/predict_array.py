"""Map an xarray array with a bundle: at once, or lazily where the array is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.windows import Window

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.errors import ConfigError, OutputError
from rsmeta.geo.arrays import ArrayRaster, PixelWindow, held
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.tiling import Strip
from rsmeta.gis.class_attributes import class_attributes
from rsmeta.gis.rasters import map_values
from rsmeta.inference import sizing
from rsmeta.inference.engine import run_blocks
from rsmeta.inference.flow import Flow
from rsmeta.workflows.map_files import tags_of
from rsmeta.workflows.map_job import check_scene, open_for, plan_for
from rsmeta.workflows.predict import with_settings
from rsmeta.workflows.ready_model import choose_device, ready
from rsmeta.workflows.single_block import ModelReference, compute_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from rsmeta.bundle import BundleRecord
    from rsmeta.geo.scene import Scene
    from rsmeta.geo.tiling import TilePlan
    from rsmeta.inference.engine import Block


def predict_array(
    array: xr.DataArray | xr.Dataset,
    bundle: str | Path | ModelBundle,
    *,
    probabilities: bool = False,
    device: str = "auto",
    settings: Sequence[str] = (),
) -> xr.DataArray:
    """Map an array that is georeferenced as rioxarray has it.

    Args:
        array: (band, y, x), or a dataset of (y, x); bands go by name: those of the coordinate
            along the bands, of the attribute ``long_name``, or of the variables.
        bundle: A bundle, or its folder.
        probabilities: Return these, and not the class of the largest.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: ``KEY=VALUE`` strings that overrule the bundle's ``predict`` settings.

    Returns:
        The map (y, x), its values and nodata as in a GeoTIFF; or probabilities (class, y, x)
        float32, NaN without data. On the coordinates of ``array``; lazy, block by block, if
        that is.

    Raises:
        RsmetaError: Anything a user can mend: bands, pixel size, dimensions, bundle.
    """
    name = str(getattr(array, "name", None) or "the array")
    raster = ArrayRaster(array, name)
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
    record = with_settings(loaded.record, settings)
    if record.per == "image":
        raise ConfigError(
            "the model tells whole images apart, and arrays are mapped pixel by pixel; write the "
            "array to a file and map that"
        )
    if probabilities and record.output.continuous:
        raise OutputError(
            f"the model maps {record.output.name}, a number, and gives no probabilities"
        )
    with held(raster, name) as source:
        scene = open_for(source, record)
        check_scene(scene, record)
        work = _Work(scene, plan_for(scene, record), record, probabilities)
        if any(part.array.chunks is not None for part in raster.parts):
            origin = loaded if isinstance(bundle, ModelBundle) else Path(bundle)
            values = _lazily(work, raster, ModelReference(origin, record, device))
        else:
            values = _at_once(work, loaded, device)
    return _placed(values, raster, work)


@dataclass(frozen=True)
class _Work:
    """What is to be made of one array.

    Attributes:
        scene: The array as a scene, with the model's bands.
        plan: Its blocks and tiles.
        record: The model, with the settings to map with.
        probabilities: Whether these are wanted.
    """

    scene: Scene
    plan: TilePlan
    record: BundleRecord
    probabilities: bool

    @property
    def layers(self) -> tuple[int, ...]:
        """Shape of the result in front of (row, column)."""
        return (len(self.record.classes),) if self.probabilities else ()

    @property
    def dtype(self) -> str:
        """Type of the result."""
        return "float32" if self.probabilities else self.record.output.dtype

    @property
    def nodata(self) -> float:
        """What the result holds where nothing is known."""
        known = self.record.output.nodata
        return float("nan") if self.probabilities or known is None else known

    def values(self, block: Block) -> NDArray[Any]:
        """Return what the result holds of a block, ``layers`` and (h, w)."""
        size = int(block.window.height), int(block.window.width)
        if block.scores is None or block.valid is None:
            return np.full((*self.layers, *size), self.nodata, self.dtype)
        if self.probabilities:
            return np.where(block.valid, block.scores, np.float32(np.nan))
        values: NDArray[Any] = map_values(self.record.output, block.scores, block.valid)[0]
        return values

    def reach(self, block: Window) -> tuple[slice, slice]:
        """Return rows and columns of the scene that a block needs."""
        return _slices(self.plan.extent(block).intersection(self.scene.grid.full_window))


def _at_once(work: _Work, bundle: ModelBundle, device: str) -> NDArray[Any]:
    where, settings = choose_device(device), work.record.predict
    classes = len(work.record.classes)
    result = np.empty((*work.layers, *work.scene.grid.shape), work.dtype)
    with bounded_cache(), ready(bundle, work.record, where) as model, Flow() as flow:
        strips = work.plan.strips(strip_blocks=sizing.choose_strip_blocks(work.plan, classes))
        for block in run_blocks(
            model, work.scene, work.plan, flow=flow, strips=strips, blend=settings.blend,
            batch_size=settings.batch_size or sizing.choose_batch_size(where), device=where,
            blend_on=sizing.choose_blending(work.plan, classes, where),
        ):  # fmt: skip
            result[..., *_slices(block.window)] = work.values(block)
    return result


def _lazily(work: _Work, raster: ArrayRaster, model: ModelReference) -> Any:
    """Return a dask array with a task for each block, of the pixels that it needs."""
    import dask.array as da
    from dask.delayed import delayed

    pixels = da.concatenate([part.array.data for part in raster.parts])
    pixels = pixels[[index - 1 for index in work.scene.band_indexes]].astype(work.scene.dtype)
    strip = next(work.plan.strips(strip_blocks=work.plan.width_px))  # all blocks, row by row
    # Lest each task carries it, and perhaps a network, the model is a task's result itself.
    shared = delayed(_Task(work, model), name=f"model-{model.token}", traverse=False)
    compute = delayed(_compute_window)
    rows: dict[int, list[Any]] = {}
    for block in strip.blocks():
        needed = pixels[:, *work.reach(block)]
        size = int(block.height), int(block.width)
        made = compute(shared, delayed(needed.rechunk(-1)), tuple(block.flatten()))
        lazy = da.from_delayed(made, (*work.layers, *size), work.dtype)
        rows.setdefault(int(block.row_off), []).append(lazy)
    return da.concatenate([da.concatenate(row, axis=-1) for row in rows.values()], axis=-2)


@dataclass(frozen=True)
class _Task:
    """What all tasks of a lazy map share."""

    work: _Work
    model: ModelReference


def _compute_window(task: _Task, pixels: NDArray[Any], window: tuple[int, ...]) -> NDArray[Any]:
    """Compute a block from the pixels that it needs, (C, h, w), raw numbers."""
    block, work = Window(*window), task.work
    strip = Strip(0, block, work.scene.grid.full_window, work.plan.block_px)
    rows, cols = work.reach(block)
    with held(PixelWindow(np.asarray(pixels), rows.start, cols.start)) as source:
        indexes = tuple(range(1, len(pixels) + 1))
        scene = replace(work.scene, source=source, band_indexes=indexes)
        return work.values(compute_block(task.model, scene, work.plan, strip))


def _placed(values: Any, raster: ArrayRaster, work: _Work) -> xr.DataArray:
    """Return values on the coordinates of the array that they are a map of."""
    import xarray as xr

    like = raster.parts[0].array
    plain = like.isel({like.dims[0]: 0}, drop=True)
    names = [spec.name for spec in work.record.classes]
    dims = ("class", *plain.dims) if work.probabilities else plain.dims
    coordinates: dict[Any, Any] = dict(plain.coords)
    if work.probabilities:
        coordinates["class"] = names
    result = xr.DataArray(
        values, coordinates, dims, "probabilities" if work.probabilities else "map",
        attrs=tags_of(work.scene, work.record, datetime.now(UTC)),
    )  # fmt: skip
    output = work.record.output
    if output.continuous:
        result.attrs |= {"long_name": output.name, "units": output.unit or "1"}
    elif not work.probabilities:
        result.attrs |= class_attributes(work.record.classes, output.dtype)
    result = result.rio.set_spatial_dims(*reversed(plain.dims))
    if raster.crs is not None:
        result = result.rio.write_crs(raster.crs)
    placed: xr.DataArray = result.rio.write_nodata(work.nodata)
    return placed


def _slices(window: Window) -> tuple[slice, slice]:
    row, col = int(window.row_off), int(window.col_off)
    return slice(row, row + int(window.height)), slice(col, col + int(window.width))
