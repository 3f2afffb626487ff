"""Finished maps as Zarr stores and NetCDF files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.geo.arrays import need_engine
from rsmeta.gis.outputs.class_attributes import class_attributes
from rsmeta.gis.tags import CLASSES, map_classes

if TYPE_CHECKING:
    from pathlib import Path

#: Side of the chunks in the file, and of those that are converted at once.
_CHUNK_PX, _WORK_PX = 512, 2048


def write_array_file(raster: Path, target: Path, name: str) -> None:
    """Write a GeoTIFF of ours as a variable of a new Zarr store or NetCDF file.

    Coordinates and CRS follow the CF conventions as rioxarray has them; class values have
    ``flag_values`` and ``flag_meanings``.

    Args:
        raster: The GeoTIFF.
        target: ``.zarr``, ``.nc`` or ``.nc4``; nothing is there.
        name: Name of the variable.
    """
    import rioxarray

    opened: Any = rioxarray.open_rasterio(raster, chunks={"x": _WORK_PX, "y": _WORK_PX})
    with opened as array:
        chunks = [_CHUNK_PX, _CHUNK_PX]
        if CLASSES in array.attrs and name == "map":
            array = array.squeeze("band", drop=True)
            array.attrs |= class_attributes(map_classes(raster), str(array.dtype))
        else:
            described = array.attrs.pop("long_name", name)
            names = [described] if isinstance(described, str) else list(described)
            array = array.assign_coords(band=names)
            chunks = [1, *chunks]
        for key in ("scale_factor", "add_offset"):  # 1 and 0: readers would make floats of it
            array.attrs.pop(key, None)
        sizes = tuple(min(c, n) for c, n in zip(chunks, array.shape, strict=True))
        dataset = array.to_dataset(name=name)
        dataset.attrs["Conventions"] = "CF-1.11"
        placed = {"grid_mapping": "spatial_ref"} if "spatial_ref" in array.coords else {}
        if need_engine(target) == "zarr":
            dataset[name].encoding = {**placed, "chunks": sizes}
            dataset.to_zarr(target, zarr_format=2)
        else:
            packed = {"zlib": True, "complevel": 4, "chunksizes": sizes}
            dataset[name].encoding = {**placed, **packed}
            dataset.to_netcdf(target, engine="h5netcdf")
