"""Map an xarray array with a bundle: at once, or lazily where the array is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from rasterio.windows import Window

from rsmeta.bundle import ModelBundle, load_bundle
from rsmeta.errors import OutputError
from rsmeta.geo.arrays import ArrayRaster, PixelWindow, held
from rsmeta.gis.outputs.blocks import BlockMaker
from rsmeta.gis.outputs.class_attributes import class_attributes
from rsmeta.gis.outputs.raster_spec import MapSpec, raster_products_of
from rsmeta.inference.device import choose_device
from rsmeta.inference.engine import choose_block_px, ready_engine
from rsmeta.workflows.mapping.executors import LocalExecutor, made_block
from rsmeta.workflows.mapping.predict_scenes import with_settings
from rsmeta.workflows.mapping.request import (
    BlockRequest,
    check_mappable,
    check_scene,
    open_for,
    plan_for,
)
from rsmeta.workflows.mapping.sidecars import tags_of
from rsmeta.workflows.mapping.worker import compute_block

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from rsmeta.config.load import Overrides
    from rsmeta.geo.block_vrt import RasterSpec
    from rsmeta.geo.grid import Grid


def predict_array(
    array: xr.DataArray | xr.Dataset,
    bundle: str | Path | ModelBundle,
    *,
    probabilities: bool = False,
    device: str = "auto",
    settings: Overrides = (),
) -> xr.DataArray:
    """Map an array that is georeferenced as in rioxarray.

    Args:
        array: (band, y, x), or a dataset of (y, x); bands go by name: those of the coordinate
            along the bands, of the attribute ``long_name``, or of the variables.
        bundle: A bundle, or its folder.
        probabilities: Return these, and not the class of the largest.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: A mapping, or ``KEY=VALUE`` strings, over the bundle's ``predict`` settings.

    Returns:
        The map (y, x), its values and nodata as in a GeoTIFF; or probabilities (class, y, x)
        float32, NaN without data. On the coordinates of ``array``, or on those of the cells that
        a model of whole images gives one value each; lazy, block by block, if ``array`` is.

    Raises:
        RsmetaError: Anything a user can mend: bands, pixel size, dimensions, bundle.
    """
    name = str(getattr(array, "name", None) or "the array")
    raster = ArrayRaster(array, name)
    loaded = bundle if isinstance(bundle, ModelBundle) else load_bundle(bundle, to_apply=True)
    record = with_settings(loaded.record, settings)
    check_mappable(record)
    if probabilities and record.output.continuous:
        raise OutputError(
            f"the model maps {record.output.name}, a number, and gives no probabilities"
        )
    layer = "probabilities" if probabilities else "map"
    with held(raster, name) as source:
        scene = open_for(source, record)
        check_scene(scene, record)
        plan = plan_for(
            record, scene.grid, scene.grid.full_window,
            choose_block_px(record, choose_device(device)),
        )  # fmt: skip
        request = BlockRequest(scene=scene, record=record, model=loaded, plan=plan)
        spec = MapSpec(record.output, record.classes, {})
        maker = BlockMaker(spec, plan.grid, (layer,))
        if any(part.array.chunks is not None for part in raster.parts):
            if not isinstance(bundle, ModelBundle):  # else it travels along
                request = replace(request, model=loaded.path or loaded)
            values = _lazily(request, maker, raster, device)
        else:
            values = _at_once(request, loaded, maker, device)
    return _placed(values, raster, request, layer)


def _at_once(
    request: BlockRequest, bundle: ModelBundle, maker: BlockMaker, device: str
) -> NDArray[Any]:
    kind = _kind(maker)
    values = np.full((kind.count, *request.grid.shape), kind.nodata, kind.dtype)
    with ready_engine(bundle, request.record, choose_device(device)) as engine:
        for block in LocalExecutor(engine).blocks(request, maker):
            if block.arrays is not None:
                values[:, *_slices(block.window)] = block.arrays[maker.names[0]]
    return values


def _lazily(request: BlockRequest, maker: BlockMaker, raster: ArrayRaster, device: str) -> Any:
    """Return a dask array with a task for each block, of the pixels that it needs."""
    import dask.array as da
    from dask.delayed import delayed

    pixels = da.concatenate([part.array.data for part in raster.parts])
    scene, kind = request.scene, _kind(maker)
    pixels = pixels[[index - 1 for index in scene.band_indexes]].astype(scene.dtype)
    # Lest each task carries it, and perhaps a network, the request is a task's result itself.
    shared = delayed(request, name=f"map-{uuid4().hex}", traverse=False)
    compute = delayed(_compute_window)
    rows: dict[int, list[Any]] = {}
    for block in request.plan.blocks():
        needed = delayed(pixels[:, *_needed(request, block)].rechunk(-1))
        made = compute(shared, maker, device, needed, tuple(block.flatten()))
        shape = kind.count, int(block.height), int(block.width)
        rows.setdefault(int(block.row_off), []).append(da.from_delayed(made, shape, kind.dtype))
    return da.concatenate([da.concatenate(row, axis=-1) for row in rows.values()], axis=-2)


def _compute_window(
    request: BlockRequest,
    maker: BlockMaker,
    device: str,
    pixels: NDArray[Any],
    window: tuple[int, ...],
) -> NDArray[Any]:
    """Compute a block from the pixels that it needs, (C, h, w), raw numbers."""
    block = Window(*window)
    rows, cols = _needed(request, block)
    with held(PixelWindow(np.asarray(pixels), rows.start, cols.start)) as source:
        indexes = tuple(range(1, len(pixels) + 1))
        scene = replace(request.scene, source=source, band_indexes=indexes)
        made = made_block(maker, compute_block(replace(request, scene=scene), device, block))
    kind = _kind(maker)
    if made.arrays is None:
        shape = kind.count, int(block.height), int(block.width)
        return np.full(shape, kind.nodata, kind.dtype)
    values: NDArray[Any] = made.arrays[maker.names[0]]
    return values


def _kind(maker: BlockMaker) -> RasterSpec:
    """Return type, nodata and number of layers of what is made."""
    return raster_products_of(maker.grid, maker.spec)[maker.names[0]].raster


def _needed(request: BlockRequest, block: Window) -> tuple[slice, slice]:
    """Return rows and columns of the array that a block needs; none where it lies outside."""
    rows, cols = _slices(request.plan.read_window(block))
    height, width = request.scene.grid.shape
    halo = request.scene.halo_px
    return _inside(rows, height, halo), _inside(cols, width, halo)


def _placed(values: Any, raster: ArrayRaster, request: BlockRequest, layer: str) -> xr.DataArray:
    """Return values on the coordinates of the array that they are a map of, or of its cells."""
    import xarray as xr

    like, record = raster.parts[0].array, request.record
    plain = like.isel({like.dims[0]: 0}, drop=True)
    is_coarser = request.grid != request.scene.grid
    coordinates: dict[Any, Any] = (
        _cell_coordinates(plain, request.grid) if is_coarser else dict(plain.coords)
    )
    dims = plain.dims
    if layer == "map":
        values = values[0]
    else:
        dims = ("class", *dims)
        coordinates["class"] = [spec.name for spec in record.classes]
    result = xr.DataArray(
        values, coordinates, dims, layer, attrs=tags_of(request.scene, record, datetime.now(UTC))
    )
    output, nodata = record.output, float("nan")
    if output.continuous:
        result.attrs |= {"long_name": output.name, "units": output.unit or "1"}
    elif layer == "map":
        result.attrs |= class_attributes(record.classes, output.dtype)
    if layer == "map" and output.nodata is not None:
        nodata = output.nodata
    result = result.rio.set_spatial_dims(*reversed(plain.dims))
    if raster.crs is not None:
        result = result.rio.write_crs(raster.crs)
    if is_coarser:
        result = result.rio.write_transform(request.grid.transform)
    placed: xr.DataArray = result.rio.write_nodata(nodata)
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


def _inside(span: slice, size: int, halo: int) -> slice:
    start = min(max(span.start - halo, 0), size)
    return slice(start, max(min(span.stop + halo, size), start))


def _slices(window: Window) -> tuple[slice, slice]:
    row, col = int(window.row_off), int(window.col_off)
    return slice(row, row + int(window.height)), slice(col, col + int(window.width))
