"""Map an xarray array with a bundle: at once, or lazily where the array is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.windows import Window

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.errors import OutputError
from rsmeta.geo.arrays import ArrayRaster, PixelWindow, held
from rsmeta.geo.handles import bounded_cache
from rsmeta.geo.patches import PatchPlan
from rsmeta.gis.outputs.class_attributes import class_attributes
from rsmeta.gis.outputs.nodata import map_values, without_nan
from rsmeta.inference import sizing
from rsmeta.inference.cells import run_cells
from rsmeta.inference.engine import run_blocks
from rsmeta.inference.model import choose_device, ready
from rsmeta.inference.pipeline import Pipeline
from rsmeta.workflows.mapping.predict_scenes import with_settings
from rsmeta.workflows.mapping.request import (
    cells_for,
    check_mappable,
    check_scene,
    open_for,
    plan_for,
)
from rsmeta.workflows.mapping.sidecars import tags_of
from rsmeta.workflows.mapping.worker import ModelReference, Work, compute_block

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    import xarray as xr
    from numpy.typing import NDArray

    from rsmeta.bundle import BundleRecord
    from rsmeta.config.load import Overrides
    from rsmeta.geo.grid import Grid
    from rsmeta.geo.scene import Scene
    from rsmeta.inference.engine import Block
    from rsmeta.inference.scoring import Model


def predict_array(
    array: xr.DataArray | xr.Dataset,
    bundle: str | Path | ModelBundle,
    *,
    probabilities: bool = False,
    device: str = "auto",
    settings: Overrides = (),
) -> xr.DataArray:
    """Map an array that is georeferenced as rioxarray has it.

    Args:
        array: (band, y, x), or a dataset of (y, x); bands go by name: those of the coordinate
            along the bands, of the attribute ``long_name``, or of the variables.
        bundle: A bundle, or its folder.
        probabilities: Return these, and not the class of the largest.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: ``KEY=VALUE`` strings, or a mapping, over the bundle's ``predict`` settings.

    Returns:
        The map (y, x), its values and nodata as in a GeoTIFF; or probabilities (class, y, x)
        float32, NaN without data. On the coordinates of ``array``, or on those of the cells that
        a model of whole images gives one value each; lazy, block by block, if ``array`` is.

    Raises:
        RsmetaError: Anything a user can mend: bands, pixel size, dimensions, bundle.
    """
    name = str(getattr(array, "name", None) or "the array")
    raster = ArrayRaster(array, name)
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle)
    record = with_settings(loaded.record, settings)
    check_mappable(record)
    if probabilities and record.output.continuous:
        raise OutputError(
            f"the model maps {record.output.name}, a number, and gives no probabilities"
        )
    with held(raster, name) as source:
        scene = open_for(source, record)
        check_scene(scene, record)
        work = _ArrayMap(_work(scene, record, choose_device(device)), record, probabilities)
        if any(part.array.chunks is not None for part in raster.parts):
            origin = loaded if isinstance(bundle, ModelBundle) else Path(bundle)
            values = _lazily(work, raster, ModelReference(origin, record, device))
        else:
            values = _at_once(work, loaded, device)
    return _placed(values, raster, work)


def _work(scene: Scene, record: BundleRecord, device: torch.device) -> Work:
    plan, whole = plan_for(scene, record, device), scene.grid.full_window
    if record.per == "pixel":
        return Work(scene, plan, whole)
    return Work(scene, cells_for(record, whole, plan.block_px), whole)


@dataclass(frozen=True)
class _ArrayMap:
    """What is to be made of one array.

    Attributes:
        work: The array as a scene, with the model's bands, and how it is cut.
        record: The model, with the settings to map with.
        probabilities: Whether these are wanted.
    """

    work: Work
    record: BundleRecord
    probabilities: bool

    @property
    def grid(self) -> Grid:
        """Where the values lie: on the array's pixels, or on cells of many."""
        own, plan = self.work.scene.grid, self.work.plan
        return own.coarser(plan.stride_px) if isinstance(plan, PatchPlan) else own

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
        values: NDArray[Any] = map_values(
            self.record.output, block.scores, without_nan(block.scores, block.valid)
        )[0]
        return values

    def reach(self, block: Window) -> tuple[slice, slice]:
        """Return rows and columns of the array that a block needs; none where it lies outside."""
        rows, cols = _slices(self.work.reach(block))
        height, width = self.work.scene.grid.shape
        return _inside(rows, height), _inside(cols, width)


def _at_once(work: _ArrayMap, bundle: ModelBundle, device: str) -> NDArray[Any]:
    where = choose_device(device)
    result = np.empty((*work.layers, *work.grid.shape), work.dtype)
    with bounded_cache(), ready(bundle, work.record, where) as model, Pipeline() as flow:
        for block in _blocks(work, model, flow, where):
            result[..., *_slices(block.window)] = work.values(block)
    return result


def _blocks(work: _ArrayMap, model: Model, flow: Pipeline, device: torch.device) -> Iterator[Block]:
    scene, plan, settings = work.work.scene, work.work.plan, work.record.predict
    batch_size = settings.batch_size or sizing.choose_batch_size(device)
    if isinstance(plan, PatchPlan):
        return run_cells(model, scene, plan, flow=flow, batch_size=batch_size, device=device)
    scores = work.record.output.scores
    return run_blocks(
        model, scene, plan, flow=flow, blend=settings.blend, batch_size=batch_size, device=device,
        strips=plan.strips(strip_blocks=sizing.choose_strip_blocks(plan, scores)),
        blend_on=sizing.choose_blending(plan, scores, device),
    )  # fmt: skip


def _lazily(work: _ArrayMap, raster: ArrayRaster, model: ModelReference) -> Any:
    """Return a dask array with a task for each block, of the pixels that it needs."""
    import dask.array as da
    from dask.delayed import delayed

    pixels = da.concatenate([part.array.data for part in raster.parts])
    scene = work.work.scene
    pixels = pixels[[index - 1 for index in scene.band_indexes]].astype(scene.dtype)
    # Lest each task carries it, and perhaps a network, the model is a task's result itself.
    shared = delayed(_Task(work, model), name=f"model-{model.token}", traverse=False)
    compute = delayed(_compute_window)
    rows: dict[int, list[Any]] = {}
    for block in work.work.blocks():
        needed = pixels[:, *work.reach(block)]
        size = int(block.height), int(block.width)
        made = compute(shared, delayed(needed.rechunk(-1)), tuple(block.flatten()))
        lazy = da.from_delayed(made, (*work.layers, *size), work.dtype)
        rows.setdefault(int(block.row_off), []).append(lazy)
    return da.concatenate([da.concatenate(row, axis=-1) for row in rows.values()], axis=-2)


@dataclass(frozen=True)
class _Task:
    """What all tasks of a lazy map share."""

    work: _ArrayMap
    model: ModelReference


def _compute_window(task: _Task, pixels: NDArray[Any], window: tuple[int, ...]) -> NDArray[Any]:
    """Compute a block from the pixels that it needs, (C, h, w), raw numbers."""
    block, work = Window(*window), task.work
    rows, cols = work.reach(block)
    with held(PixelWindow(np.asarray(pixels), rows.start, cols.start)) as source:
        indexes = tuple(range(1, len(pixels) + 1))
        scene = replace(work.work.scene, source=source, band_indexes=indexes)
        return work.values(compute_block(task.model, replace(work.work, scene=scene), block))


def _placed(values: Any, raster: ArrayRaster, work: _ArrayMap) -> xr.DataArray:
    """Return values on the coordinates of the array that they are a map of, or of its cells."""
    import xarray as xr

    like = raster.parts[0].array
    plain = like.isel({like.dims[0]: 0}, drop=True)
    names = [spec.name for spec in work.record.classes]
    dims = ("class", *plain.dims) if work.probabilities else plain.dims
    is_coarser = work.grid != work.work.scene.grid
    coordinates: dict[Any, Any] = (
        _cell_coordinates(plain, work.grid) if is_coarser else dict(plain.coords)
    )
    if work.probabilities:
        coordinates["class"] = names
    result = xr.DataArray(
        values, coordinates, dims, "probabilities" if work.probabilities else "map",
        attrs=tags_of(work.work.scene, work.record, datetime.now(UTC)),
    )  # fmt: skip
    output = work.record.output
    if output.continuous:
        result.attrs |= {"long_name": output.name, "units": output.unit or "1"}
    elif not work.probabilities:
        result.attrs |= class_attributes(work.record.classes, output.dtype)
    result = result.rio.set_spatial_dims(*reversed(plain.dims))
    if raster.crs is not None:
        result = result.rio.write_crs(raster.crs)
    if is_coarser:
        result = result.rio.write_transform(work.grid.transform)
    placed: xr.DataArray = result.rio.write_nodata(work.nodata)
    return placed


def _cell_coordinates(plain: xr.DataArray, grid: Grid) -> dict[Any, Any]:
    """Return the coordinates of values on a coarser grid than that of their array.

    Args:
        plain: The array, (row, column); what of it holds for all pixels alike is kept.
        grid: Where the values lie.
    """
    y, x = plain.dims
    kept: dict[Any, Any] = {n: c for n, c in plain.coords.items() if not {x, y} & set(c.dims)}
    t = grid.transform
    if t.b == t.d == 0:  # a turned grid has no coordinates along its sides
        centres = {
            y: t.f + t.e * (np.arange(grid.height_px) + 0.5),
            x: t.c + t.a * (np.arange(grid.width_px) + 0.5),
        }
        given = [dim for dim in centres if dim in plain.coords]
        kept |= {dim: (dim, centres[dim], plain.coords[dim].attrs) for dim in given}
    return kept


def _inside(span: slice, size: int) -> slice:
    start = min(max(span.start, 0), size)
    return slice(start, max(min(span.stop, size), start))


def _slices(window: Window) -> tuple[slice, slice]:
    row, col = int(window.row_off), int(window.col_off)
    return slice(row, row + int(window.height)), slice(col, col + int(window.width))
