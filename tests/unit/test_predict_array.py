"""Arrays of xarray are mapped as files are: the same pixels, lazily where the array is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rioxarray
import torch
import xarray as xr

import rsmeta
from rsmeta.errors import BandsMissingError, ConfigError, SceneError
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle
    from tests.conftest import MakeScene

SHAPE = (75, 53)


class Smooth(torch.nn.Module):
    """Scores that depend on the neighbourhood and on the place in the tile."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        image = torch.nn.functional.avg_pool2d(image * valid[:, None], 5, 1, 2)
        slope = torch.linspace(0, 1, image.shape[-1]) * 0.3
        return torch.stack([image[:, 0], image[:, 1], slope.expand_as(image[:, 0])], 1) * 3


@pytest.fixture(params=["float32", "int16"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, make_scene: MakeScene) -> Path:
    path = tmp_path / "scene.tif"
    random_scene(make_scene, path, SHAPE, 3, holes=True, dtype=request.param)
    return path


@pytest.fixture
def bundle() -> ModelBundle:
    return bundle_of(Smooth(), classes=3, block_px=16, overlap=0.25)


@pytest.fixture
def files(scene: Path, bundle: ModelBundle, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Classes and probabilities as the way over files gives them."""
    wanted = rsmeta.Products(tmp_path / "map.tif", probabilities=tmp_path / "p.tif")
    rsmeta.predict(scene, bundle, output=wanted)
    with rasterio.open(wanted.map) as classes, rasterio.open(tmp_path / "p.tif") as shares:
        return classes.read(1), shares.read()


read: list[tuple[int, ...]] = []


def _noted(chunk: np.ndarray) -> np.ndarray:
    read.append(chunk.shape)
    return chunk


def opened(scene: Path, **options: Any) -> xr.DataArray:
    array = rioxarray.open_rasterio(scene, **options)
    assert isinstance(array, xr.DataArray)
    return array


@pytest.mark.parametrize("chunks", [None, {"band": 1, "y": 20, "x": 17}, {"y": 64}])
def test_the_same_as_over_files(
    scene: Path, bundle: ModelBundle, files: tuple[np.ndarray, np.ndarray], chunks: Any
) -> None:
    array = opened(scene, chunks=chunks)
    classes = rsmeta.predict(array, bundle)
    shares = rsmeta.predict(array, bundle, probabilities=True)
    np.testing.assert_array_equal(classes.values, files[0])
    np.testing.assert_allclose(shares.values, files[1], atol=1e-5)
    assert list(shares.coords["class"].values) == ["class 0", "class 1", "class 2"]


def test_what_travels_along(scene: Path, bundle: ModelBundle) -> None:
    array = opened(scene)
    result = rsmeta.predict(array, bundle)
    assert result.dims == ("y", "x")
    assert result.dtype == np.uint8
    assert result.rio.crs == array.rio.crs
    assert result.rio.transform() == array.rio.transform()
    assert result.rio.nodata == 255
    xr.testing.assert_equal(result.coords["x"], array.coords["x"])
    assert list(result.attrs["flag_values"]) == [0, 10, 20]
    assert result.attrs["flag_meanings"] == "class_0 class_1 class_2"
    assert result.attrs["RSMETA_MODEL_SHA256"] == "0" * 64


def test_lazy_stays_lazy_and_reads_what_a_block_needs(scene: Path, bundle: ModelBundle) -> None:
    read.clear()
    whole = opened(scene)
    chunked = opened(scene, chunks={"band": 2, "y": 15, "x": 15}).data
    noted = chunked.map_blocks(_noted, meta=chunked._meta)
    result = rsmeta.predict(whole.copy(data=noted), bundle)
    assert not read
    assert result.chunks is not None
    part = result.isel(y=slice(0, 8), x=slice(0, 8)).values
    assert 0 < len(read) <= 4, "a block of 16 px and its tiles lie in four chunks of 15 px"
    np.testing.assert_array_equal(part, rsmeta.predict(whole, bundle).values[:8, :8])


def test_a_dataset_of_variables_is_a_scene(
    scene: Path, bundle: ModelBundle, files: tuple[np.ndarray, np.ndarray]
) -> None:
    array = opened(scene)
    nir, red = array[1].drop_vars("band"), array[0].drop_vars("band")
    for band in (nir, red):
        del band.attrs["long_name"]
    result = rsmeta.predict(xr.Dataset({"nir": nir, "red": red}), bundle)
    np.testing.assert_array_equal(result.values, files[0])


def test_masked_arrays_have_nan_without_data(
    scene: Path, bundle: ModelBundle, files: tuple[np.ndarray, np.ndarray]
) -> None:
    result = rsmeta.predict(opened(scene, masked=True), bundle)
    np.testing.assert_array_equal(result.values, files[0])


def test_what_is_no_scene_is_refused(scene: Path, bundle: ModelBundle) -> None:
    array = opened(scene)
    two = array.expand_dims(time=2)
    with pytest.raises(SceneError, match=r"time \(2\).*isel\(time=0\)"):
        rsmeta.predict(two, bundle)
    with pytest.raises(SceneError, match="none of which are called x and y"):
        rsmeta.predict(xr.DataArray(array.values, dims=("a", "b", "c")), bundle)
    with pytest.raises(SceneError, match="not evenly spaced"):
        rsmeta.predict(array.assign_coords(x=np.arange(array.sizes["x"]) ** 2), bundle)
    with pytest.raises(BandsMissingError):
        rsmeta.predict(array.assign_coords(band=["red", "blue"]), bundle)


class Judge(torch.nn.Module):
    """Scores an image by its colours and by what lies where in it."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        image = image * valid[:, None]
        left = image[..., : image.shape[-1] // 2].mean((1, 2, 3))
        return torch.stack([image[:, 0].mean((1, 2)), image[:, 1].mean((1, 2)), left], 1) * 3


@pytest.mark.parametrize("chunks", [None, {"band": 1, "y": 20, "x": 17}])
@pytest.mark.parametrize("stride_px", [None, 5, 30])
def test_a_model_of_whole_images_maps_cells(
    scene: Path, tmp_path: Path, chunks: Any, stride_px: int | None
) -> None:
    """Values, coordinates and CRS of the coarser grid are those of the way over files."""
    judge = bundle_of(Judge(), classes=3, per="image", block_px=16, stride_px=stride_px)
    wanted = rsmeta.Products(tmp_path / "map.tif", probabilities=tmp_path / "p.tif")
    rsmeta.predict(scene, judge, output=wanted)
    like = rioxarray.open_rasterio(wanted.map)
    array = opened(scene, chunks=chunks).assign_coords(time=np.datetime64("2026-07-01", "s"))
    classes = rsmeta.predict(array, judge)
    shares = rsmeta.predict(array, judge, probabilities=True)
    assert (classes.chunks is None) == (chunks is None)
    np.testing.assert_array_equal(classes.values, like.values[0])
    with rasterio.open(tmp_path / "p.tif") as raster:
        np.testing.assert_allclose(shares.values, raster.read(), atol=1e-5)
    for made in (classes, shares):
        assert made.rio.crs == like.rio.crs
        assert made.rio.transform() == like.rio.transform()
        np.testing.assert_allclose(made.x, like.x)
        np.testing.assert_allclose(made.y, like.y)
        assert made.x.attrs == array.x.attrs
        assert made.time == array.time
    assert classes.rio.nodata == 255


def test_a_scene_of_one_cell_has_its_size(scene: Path) -> None:
    judge = bundle_of(Judge(), classes=3, per="image", stride_px=80)
    small = rsmeta.predict(opened(scene), judge)
    assert small.shape == (1, 1)
    assert small.rio.resolution() == (800, -800)
    assert small.x.item() == opened(scene).x[0].item() - 5 + 400


def test_several_labels_make_no_map(scene: Path) -> None:
    judge = bundle_of(Judge(), classes=3, per="image")
    several = replace(judge, record=judge.record.model_copy(update={"task": "multilabel"}))
    with pytest.raises(ConfigError, match="multilabel"):
        rsmeta.predict(opened(scene), several)
