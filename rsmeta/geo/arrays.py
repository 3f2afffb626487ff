"""xarray's arrays, and the Zarr and NetCDF files that hold such, in the form of a raster file."""

from __future__ import annotations

import itertools
import re
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

from rsmeta.errors import MissingExtraError, SceneError, SceneUnreadableError, one_line
from rsmeta.geo.grid import whole_pixels
from rsmeta.geo.raster_source import RasterSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from rasterio.windows import Window

#: How xarray opens files of these endings.
ENGINES: dict[str, Literal["zarr", "h5netcdf"]] = {
    ".zarr": "zarr", ".nc": "h5netcdf", ".nc4": "h5netcdf",
}  # fmt: skip
#: What it needs for that.
_NEEDS = {"zarr": ("zarr",), "h5netcdf": ("h5netcdf", "h5py")}

#: Coordinates along the bands that may hold their names, best first.
_NAMES = ("common_name", "name", "band_name", "title")
_FILL = ("_FillValue", "missing_value", "nodata")
#: A coordinate may lie so far from its place on an even grid, in pixels.
_UNEVEN = 0.1

#: Where NetCDF files of EMIT and OCI hold wavelengths, widths and good bands.
_SPECTRAL_GROUP = "sensor_band_parameters"
#: Rows and columns of images that are not on a map yet.
_SWATH = {"downtrack": "y", "crosstrack": "x"}

_held: dict[str, Any] = {}
_numbers = itertools.count(1)


def is_array_file(source: str | Path) -> bool:
    """Return whether xarray, not GDAL, reads a file of this name."""
    return Path(source).suffix.lower() in ENGINES


@contextmanager
def held(raster: Any, name: str = "the array") -> Iterator[RasterSource]:
    """Give a raster in memory a source under which scenes find it, in this process."""
    key = f"array://{next(_numbers)}"
    _held[key] = raster
    try:
        yield RasterSource(name, key, name, key)
    finally:
        del _held[key]


def find_held(source: RasterSource) -> Any | None:
    """Return the raster in memory of that source; none if there is none."""
    return _held.get(source.gdal_name)


class Part(NamedTuple):
    """Bands that lie in one array.

    Attributes:
        array: (band, row, column); any names of dimensions.
        names: Name of each band, where it has one.
    """

    array: xr.DataArray
    names: tuple[str | None, ...]


class ArrayRaster:
    """Bands of arrays on one grid, with as much of rasterio's datasets as scenes ask for.

    Args:
        given: (row, column), (band, row, column), a dataset of such, or several that each hold
            bands; dimensions of length 1 are left out. Georeferenced as rioxarray has it. One
            whose attribute ``colorinterp`` is ``alpha`` says by values above 0 where data are.
        name: What it is called in messages.
        tags: What is known of it beside its attributes.

    Raises:
        SceneError: It is no raster: its dimensions, or its coordinates.
    """

    driver = "xarray"
    subdatasets: tuple[str, ...] = ()

    def __init__(
        self,
        given: xr.DataArray | xr.Dataset | list[xr.DataArray],
        name: str,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        import rioxarray  # noqa: F401 - gives arrays their accessor ``rio``

        self.name = name
        self.parts = _parts(given, name)
        first = self.parts[0].array
        self.height, self.width = first.shape[1:]
        self.transform = _transform(first, name)
        whole = first if isinstance(given, list) else given
        self.crs = _crs(first) or _crs(whole)
        places = [(i, j) for i, part in enumerate(self.parts) for j in range(len(part.array))]
        self._places = places
        self.count = len(places)
        self.descriptions = tuple(n for part in self.parts for n in part.names)
        are_alpha = (part.array.attrs.get("colorinterp") == "alpha" for part in self.parts)
        kinds = [ColorInterp.alpha if alpha else ColorInterp.undefined for alpha in are_alpha]
        self.colorinterp = tuple(kinds[i] for i, _ in places)
        self.dtypes = tuple(str(self.parts[i].array.dtype) for i, _ in places)
        self.scales = tuple(_of_band(self.parts[i].array, _SCALES, j, 1.0) for i, j in places)
        self.offsets = tuple(_of_band(self.parts[i].array, _OFFSETS, j, 0.0) for i, j in places)
        self.nodatavals = tuple(_fill(self.parts[i].array) for i, _ in places)
        flags = (MaskFlags.all_valid, MaskFlags.nodata)
        self.mask_flag_enums = tuple([flags[v is not None]] for v in self.nodatavals)
        self.files = [name] if Path(name).exists() else []
        self._tags = {**_tags(whole, first), **(tags or {})}
        self._band_tags = [_spectrum(self.parts[i].array, j) for i, j in places]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def block_shapes(self) -> list[tuple[int, int]]:
        """Height and width of the pieces that each band comes in: its chunks, or all of it."""
        pieces = []
        for i, _ in self._places:
            chunks = self.parts[i].array.chunks
            pieces.append(self.shape if chunks is None else (chunks[1][0], chunks[2][0]))
        return pieces

    def tags(self, bidx: int = 0, ns: str | None = None) -> dict[str, str]:
        """Return the attributes, and the time, as text; of a band (from 1) its spectrum."""
        if ns is not None:
            return {}
        return dict(self._band_tags[bidx - 1] if bidx else self._tags)

    def read(self, indexes: Sequence[int], window: Window, out_dtype: str) -> NDArray[Any]:
        """Return raw numbers of bands (from 1), (C, h, w)."""
        row, col, height, width = whole_pixels(window)
        result = np.empty((len(indexes), height, width), out_dtype)
        wanted = [self._places[index - 1] for index in indexes]
        for i, part in enumerate(self.parts):
            bands = [(at, j) for at, (k, j) in enumerate(wanted) if k == i]
            if not bands:
                continue
            lazy = part.array[[j for _, j in bands], row : row + height, col : col + width]
            result[[at for at, _ in bands]] = _computed(lazy)
        return result

    def close(self) -> None:
        """Do nothing: whoever opened the arrays closes their files."""


class PixelWindow:
    """A piece of a raster in memory: what a block needs, with the bands of its scene.

    Args:
        pixels: (C, h, w), raw numbers.
        row: Row of the scene that is its first.
        col: Column likewise.
    """

    driver = "memory"

    def __init__(self, pixels: NDArray[Any], row: int, col: int) -> None:
        self._pixels = pixels
        self._origin = row, col
        self.mask_flag_enums = ([MaskFlags.all_valid],) * len(pixels)
        self.block_shapes = [pixels.shape[1:]] * len(pixels)

    def read(self, indexes: Sequence[int], window: Window, out_dtype: str) -> NDArray[Any]:
        """Return raw numbers, (C, h, w)."""
        row, col, height, width = whole_pixels(window)
        row, col = row - self._origin[0], col - self._origin[1]
        part = self._pixels[[i - 1 for i in indexes], row : row + height, col : col + width]
        return part.astype(out_dtype, copy=False)


def need_engine(source: str | Path, *more: str) -> Literal["zarr", "h5netcdf"]:
    """Return how xarray opens a file.

    Args:
        source: The file.
        more: Other packages that are needed.

    Raises:
        MissingExtraError: What is needed for that is not installed.
    """
    engine = ENGINES[Path(source).suffix.lower()]
    for package in (*_NEEDS[engine], *more):
        if find_spec(package) is None:
            raise MissingExtraError(package, "arrays")
    return engine


def open_array_file(source: str) -> ArrayRaster:
    """Open a Zarr store or a NetCDF file as a raster.

    Raises:
        MissingExtraError: What reads it is not installed.
        SceneError: It holds no raster, or several.
    """
    import xarray as xr

    engine = need_engine(source)
    try:
        # Raw numbers, as they are in any other file: scale and offset are attributes.
        dataset = xr.open_dataset(
            source, engine=engine, mask_and_scale=False, decode_coords="all", chunks=None
        )
        dataset = _with_groups(dataset, source, engine)
    except Exception as error:  # each engine raises its own
        raise SceneUnreadableError(source, one_line(error)) from error
    return ArrayRaster(dataset, source)


def _with_groups(dataset: Any, source: str, engine: Literal["zarr", "h5netcdf"]) -> Any:
    """Return a dataset with the spectrum that EMIT's files keep in a group of their own."""
    import xarray as xr

    bare = [d for d in dataset.dims if d not in dataset.coords]
    if not bare:
        return dataset
    try:
        group = xr.open_dataset(source, group=_SPECTRAL_GROUP, engine=engine, mask_and_scale=False)
    except (OSError, KeyError, ValueError):  # there is no such group
        return dataset
    sizes = {dataset.sizes[dim]: dim for dim in bare}
    along = {
        name: (sizes[v.shape[0]], v.values, v.attrs)
        for name, v in group.variables.items()
        if v.ndim == 1 and v.shape[0] in sizes
    }
    return dataset.assign_coords(along)


def _parts(given: Any, name: str) -> tuple[Part, ...]:
    if isinstance(given, list):
        arrays = [_three_dims(array, name) for array in given]
    elif hasattr(given, "data_vars"):
        dims = {d for v in given.data_vars.values() for d in v.dims}
        inner = [v for v in given.data_vars.values() if v.ndim >= 2 and v.dtype.kind in "iufb"]
        if not inner:
            found = ", ".join(map(str, dims)) or "none"
            raise SceneError(f"{name} holds no raster (dimensions: {found}); check the path")
        arrays = [_three_dims(variable, name) for variable in inner]
        if len(arrays) > 1 and any(len(array) > 1 for array in arrays):
            names = ", ".join(str(v.name) for v in inner)
            raise SceneError(f"{name} holds several rasters ({names}); give one of them alone")
    else:
        arrays = [_three_dims(given, name)]
    if len({array.shape[1:] for array in arrays}) > 1:
        shapes = ", ".join(f"{a.name} {a.shape[1:]}" for a in arrays)
        raise SceneError(f"the bands of {name} have different shapes ({shapes}); resample them")
    return tuple(Part(array, _band_names(array)) for array in arrays)


def _three_dims(array: Any, name: str) -> xr.DataArray:
    """Return an array as (band, row, column)."""
    from rioxarray.exceptions import MissingSpatialDimensionError

    array = array.rename({old: new for old, new in _SWATH.items() if old in array.dims})
    try:
        x, y = array.rio.x_dim, array.rio.y_dim
    except MissingSpatialDimensionError:
        raise SceneError(
            f"{name} has the dimensions {', '.join(map(str, array.dims))}, none of which are "
            f"called x and y; rename them, or call array.rio.set_spatial_dims"
        ) from None
    others = [dim for dim in array.dims if dim not in (x, y)]
    bands = [dim for dim in others if array.sizes[dim] > 1] or others[-1:]
    if len(bands) > 1:
        sizes = ", ".join(f"{dim} ({array.sizes[dim]})" for dim in bands)
        raise SceneError(
            f"{name} has the dimensions {sizes} besides x and y, and a scene has bands only; "
            f"choose one of the others, e.g. array.isel({bands[0]}=0)"
        )
    array = array.isel({dim: 0 for dim in others if dim not in bands})
    band = bands[0] if bands else "band"
    if not bands:
        array = array.expand_dims(band)
    ordered: xr.DataArray = array.transpose(band, y, x)
    return ordered


def _band_names(array: xr.DataArray) -> tuple[str | None, ...]:
    dim, count = array.dims[0], array.shape[0]
    for coordinate in (dim, *_NAMES):
        along = array.coords.get(coordinate)
        if along is not None and along.dtype.kind in "UOT" and along.dims == (dim,):
            return tuple(str(value) for value in along.values)
    told = array.attrs.get("long_name")
    if isinstance(told, tuple | list) and len(told) == count:
        return tuple(str(value) for value in told)
    if count > 1:
        return (None,) * count
    scalar = next((array.coords[n] for n in (dim, *_NAMES) if n in array.coords), None)
    if scalar is not None and scalar.dtype.kind in "UOT":
        return (str(scalar.values.item()),)
    return (str(told or array.name) if told or array.name else None,)


def _spectrum(array: xr.DataArray, band: int) -> dict[str, str]:
    """Return what coordinates along the bands say of one of them, by names as tags have."""
    dim, found = array.dims[0], {}
    for name, along in array.coords.items():
        if along.dims not in ((dim,), ()) or along.dtype.kind not in "iufb":
            continue
        described = (name, along.attrs.get("standard_name"), along.attrs.get("long_name"))
        key = next((k for k in (str(d or "").lower() for d in described) if _is_spectral(k)), None)
        if key is None:
            continue
        key = "wavelength" if "wavelength" in key and not key.startswith("good") else key
        value = along.values[band] if along.dims else along.values
        found[key] = f"{float(value):.7g}"  # float32 is exact to no more digits
        if "units" in along.attrs:
            found[f"{key}_units"] = str(along.attrs["units"])
    own = {
        k: str(v)
        for k, v in array.attrs.items()
        if _is_spectral(str(k).lower()) and np.ndim(v) == 0
    }
    return found if array.shape[0] > 1 else {**own, **found}


def _is_spectral(name: str) -> bool:
    return re.search(r"wavelength|fwhm|bandwidth|full[_ ]width|\bbbl\b", name) is not None


def _transform(array: xr.DataArray, name: str) -> Affine:
    for dim in array.dims[1:]:
        if dim in array.coords and array.sizes[dim] > 2:
            places = np.asarray(array.coords[dim].values)
            even = np.linspace(float(places[0]), float(places[-1]), len(places))
            step = abs(even[1] - even[0])
            # Coordinates in float32 are rounded: degrees to some 1e-6, a tenth of a 1e-5 pixel.
            rounding = 2 * np.spacing(np.abs(places).max()) if places.dtype.kind == "f" else 0.0
            if not np.abs(places - even).max() <= _UNEVEN * step + rounding:
                raise SceneError(
                    f"the coordinates {dim} of {name} are not evenly spaced; a scene has a grid of "
                    f"equal pixels: resample it first"
                )
    stored = array.rio.transform()
    return Affine(*(float(value) for value in tuple(stored)[:6]))


def _crs(array: Any) -> CRS | None:
    crs = array.rio.crs
    return None if crs is None else CRS.from_user_input(crs)


_SCALES = ("scales", "scale_factor")
_OFFSETS = ("offsets", "add_offset")


def _of_band(array: xr.DataArray, keys: tuple[str, str], band: int, default: float) -> float:
    several, one = (array.attrs.get(key) for key in keys)
    if isinstance(several, tuple | list | np.ndarray) and len(several) == array.shape[0]:
        return float(several[band])
    return default if one is None else float(np.asarray(one).item())


def _fill(array: xr.DataArray) -> float | None:
    """Return the raw number without data; of decoded arrays NaN stands in its place."""
    for key in _FILL:
        value = array.attrs.get(key)
        if value is not None:
            return float(np.asarray(value).item())
    return None


def _tags(given: Any, first: xr.DataArray) -> dict[str, str]:
    attributes = {**first.attrs, **given.attrs}
    tags = {k: str(v) for k, v in attributes.items() if isinstance(v, str | int | float)}
    time = first.coords.get("time")
    if time is not None and time.size == 1 and time.dtype.kind == "M":
        tags["ACQUISITIONDATETIME"] = str(time.values.reshape(()).astype("datetime64[s]"))
    return tags


def _computed(lazy: xr.DataArray) -> NDArray[Any]:
    """Return the numbers of an array; the reader's own threads are enough of them."""
    if lazy.chunks is None:
        return np.asarray(lazy.values)
    return np.asarray(lazy.data.compute(scheduler="synchronous"))
