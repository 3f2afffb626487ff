"""Bands made of others go through files, arrays, lazy arrays and blocks of any size alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives arrays their accessor ``rio``
import torch
import xarray as xr

import rsmeta
from tests.unit.mapping_bundles import bundle_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

CENTRES_NM = np.arange(600.0, 900.0, 10.0)


class Bands(torch.nn.Module):
    """Its two bands as scores."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return image


def two_bands(**settings: Any) -> Any:
    """Return a bundle for a red and a near infrared band, 60 and 100 nm wide."""
    bundle = bundle_of(Bands(), classes=2, overlap=0.25, **settings)
    seen = ({"wavelength_nm": 660.0, "width_nm": 60.0}, {"wavelength_nm": 830.0, "width_nm": 100.0})
    bands = tuple(
        band.model_copy(update=more) for band, more in zip(bundle.record.bands, seen, strict=True)
    )
    return type(bundle)(bundle.record.model_copy(update={"bands": bands}), bundle.network)


@pytest.fixture
def cube() -> xr.DataArray:
    """A scene of 30 bands whose means over the two ranges cross along the columns."""
    row, col = np.mgrid[:50, :41]
    values = np.random.default_rng(8).normal(0.5, 0.2, (30, 50, 41)).astype(np.float32)
    values[CENTRES_NM < 700] += (col / 41).astype(np.float32)
    values[CENTRES_NM > 770] += (row / 50).astype(np.float32)
    values[:, :4, :3] = np.nan
    along = {
        "band": ("band", CENTRES_NM, {"units": "nm", "long_name": "wavelength"}),
        "y": 5e6 - 10.0 * np.arange(50), "x": 5e5 + 10.0 * np.arange(41),
    }  # fmt: skip
    return xr.DataArray(values, along, ("band", "y", "x"), "cube").rio.write_crs("EPSG:32633")


def expected(cube: xr.DataArray) -> np.ndarray:
    """Return the class of each pixel: of the larger mean, 255 without data."""

    def mean(low: float, high: float) -> np.ndarray:
        left, right = CENTRES_NM - 5, CENTRES_NM + 5
        common = np.clip(np.minimum(right, high) - np.maximum(left, low), 0, None)
        return np.tensordot(common / common.sum(), cube.values, 1)

    red, nir = mean(630, 690), mean(780, 880)
    return np.where(np.isnan(red), 255, np.where(nir > red, 10, 0))


@pytest.mark.parametrize("block_px", [16, 64])
@pytest.mark.parametrize("chunks", [None, {"band": 7, "y": 20, "x": 17}])
def test_arrays(cube: xr.DataArray, chunks: Any, block_px: int) -> None:
    given = cube if chunks is None else cube.chunk(chunks)
    found = rsmeta.predict(given, two_bands(block_px=block_px))
    np.testing.assert_array_equal(found.values, expected(cube))


def test_files(cube: xr.DataArray, make_scene: MakeScene, tmp_path: Path) -> None:
    path = make_scene(tmp_path / "s.tif", cube.values, tiled=True, blockxsize=16, blockysize=16)
    with rasterio.open(path, "r+") as file:
        for i, nm in enumerate(CENTRES_NM, 1):
            file.set_band_description(i, f"{nm} nm")
    for block_px in (16, 64):
        output = tmp_path / f"{block_px}.tif"
        rsmeta.predict(path, two_bands(block_px=block_px), output=output)
        with rasterio.open(output) as made:
            np.testing.assert_array_equal(made.read(1), expected(cube))
