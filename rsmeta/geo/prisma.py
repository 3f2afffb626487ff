"""PRISMA's L2D products (``PRS_L2D_STD_….he5``) in the form of a raster file."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.errors import MissingExtraError, SceneUnreadableError, one_line
from rsmeta.geo.arrays import ArrayRaster

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

SUFFIX = ".he5"
_SWATHS = "HDFEOS/SWATHS"
_LEVEL = "PRS_L2D_HCO"
_FIELDS = f"{_SWATHS}/{_LEVEL}/Data Fields"
#: Largest raw number, that of ``L2Scale…Max``.
_LARGEST = 65535
#: Pixels outside the swath are 0 in all bands; on the ground this wavelength is not.
_SEEN_NM = 560.0


def is_prisma(path: Path) -> bool:
    """Return whether a file has the name of a PRISMA product."""
    return path.suffix.lower() == SUFFIX and path.name.upper().startswith("PRS_")


def open_prisma(source: str) -> ArrayRaster:
    """Open an L2D product: reflectance of both cubes on the product's grid.

    Bands without data (``List_Cw_…_Flags``) are left out; the others stay in the file's order.

    Raises:
        MissingExtraError: What reads it is not installed.
        SceneUnreadableError: It is damaged, or a product of another level.

    Source: PRISMA Products Specification Document, issue 2.3, ASI, 2020, L2D; corners are centres
    of pixels.
    """
    for package in ("h5py", "h5netcdf"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "arrays")
    import h5py
    import xarray as xr

    try:
        with h5py.File(source) as file:
            levels = sorted(file.get(_SWATHS, {}))
            facts = dict(file.attrs)
    except OSError as error:
        raise SceneUnreadableError(source, one_line(error)) from error
    if _LEVEL not in levels:
        found = ", ".join(levels) or "nothing of PRISMA"
        raise SceneUnreadableError(
            source, f"it holds {found}, which is on no map; use the L2D product of the scene"
        )
    try:
        cubes = xr.open_dataset(
            source, group=_FIELDS, engine="h5netcdf", phony_dims="access", mask_and_scale=False
        )
        parts = [_cube(cubes[f"{name}_Cube"], name, facts) for name in ("VNIR", "SWIR")]
    except (OSError, KeyError, ValueError) as error:
        raise SceneUnreadableError(source, f"no complete L2D product: {one_line(error)}") from error
    start = facts.get("Product_StartTime", b"")
    text = start.decode() if isinstance(start, bytes) else str(start)
    return ArrayRaster(
        [*parts, _inside(parts[0])], source, tags={"ACQUISITIONDATETIME": text} if text else {}
    )


def _cube(cube: xr.DataArray, name: str, facts: Mapping[str, Any]) -> xr.DataArray:
    """Return a cube (row, band, column) as (band, row, column) with spectrum, scale and place."""
    band = f"{name.lower()}_band"
    array = cube.rename(dict(zip(cube.dims, ("y", band, "x"), strict=True))).transpose(
        band, "y", "x"
    )
    centres, widths, flags = (
        np.asarray(facts[f"List_{what}_{name.title()}{more}"], np.float64)
        for what, more in (("Cw", ""), ("Fwhm", ""), ("Cw", "_Flags"))
    )
    low, high = (float(facts[f"L2Scale{name.title()}{end}"]) for end in ("Min", "Max"))
    array.attrs = {"scale_factor": (high - low) / _LARGEST, "add_offset": low}
    array = array.assign_coords(
        wavelength=(band, centres, {"units": "nm"}), fwhm=(band, widths, {"units": "nm"})
    ).isel({band: np.flatnonzero((flags != 0) & (centres > 0))})
    return _placed(array, facts)


def _placed(array: xr.DataArray, facts: Mapping[str, Any]) -> xr.DataArray:
    import rioxarray  # noqa: F401 - gives arrays their accessor ``rio``

    west, north, east, south = (
        float(facts[f"Product_{corner}"])
        for corner in ("ULcorner_easting", "ULcorner_northing", "LRcorner_easting",
                       "LRcorner_northing")
    )  # fmt: skip
    placed: xr.DataArray = array.assign_coords(
        x=np.linspace(west, east, array.sizes["x"]), y=np.linspace(north, south, array.sizes["y"])
    ).rio.write_crs(int(facts["Epsg_Code"]))
    return placed


def _inside(cube: xr.DataArray) -> xr.DataArray:
    """Return the band that is 0 outside the swath, as an alpha band."""
    nearest = int(np.abs(cube["wavelength"].values - _SEEN_NM).argmin())
    mask: xr.DataArray = cube[[nearest]].drop_vars(["wavelength", "fwhm"]).rename("mask")
    mask.attrs = {"long_name": "mask", "colorinterp": "alpha"}
    return mask
