"""Invariants 1 to 4 of the design, through the public ``predict``, over many shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from torch import nn

from rsmeta.geo.patches import PatchPlan
from rsmeta.geo.scene import open_scene
from rsmeta.gis.outputs.products import Products
from rsmeta.inference import sizing
from rsmeta.workflows.mapping.predict_scenes import predict
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

BLENDS = ("cosine", "centre", "none")

#: 1 x 1, 1 x N, smaller than a tile, primes, several blocks.
shapes = st.tuples(
    st.sampled_from([1, 2, 7, 16, 31, 53, 97]), st.sampled_from([1, 3, 16, 29, 64, 101])
)


class Constant(nn.Module):
    """Always surest of the last class, with the same probabilities everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        assert valid.flatten(1).any(dim=1).all(), "a tile without a valid pixel reached the model"
        self.seen += len(image)
        logits = torch.log(torch.tensor([0.2, 0.3, 0.5], device=image.device))
        return logits[None, :, None, None].expand(len(image), 3, *image.shape[2:])


class OneBand(nn.Module):
    """Its first probability is the second band."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        band = image[:, 1].clamp(1e-6, 1 - 1e-6)
        return torch.log(torch.stack([band, 1 - band], dim=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("maps")


@settings(max_examples=25, deadline=None)
@given(
    shape=shapes,
    tile_px=st.sampled_from([8, 16, 23]),
    overlap=st.sampled_from([0.0, 0.25, 0.6]),
    blend=st.sampled_from(BLENDS),
    augment=st.sampled_from(["none", "flips", "all"]),
    holes=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_constant_model_gives_that_constant_on_every_valid_pixel(
    make_scene: MakeScene, folder: Path, shape: tuple[int, int], tile_px: int, overlap: float,
    blend: str, augment: str, holes: bool, seed: int,
) -> None:  # fmt: skip
    _, valid = random_scene(make_scene, folder / "s.tif", shape, seed, holes=holes)
    bundle = bundle_of(
        Constant(), classes=3, tile_px=tile_px, overlap=overlap, blend=blend, augment=augment
    )
    (result,) = predict(
        folder / "s.tif", bundle, if_exists="overwrite", execution="cpu",
        output=Products(folder / "m.tif", confidence=folder / "c.tif"),
    )  # fmt: skip
    with rasterio.open(folder / "m.tif") as raster:
        classes = raster.read(1)
        assert raster.nodata == 255
    with rasterio.open(folder / "c.tif") as raster:
        confidence = raster.read(1)
    assert (classes == np.where(valid, 20, 255)).all()
    assert np.allclose(confidence[valid], 0.5, atol=1e-6)
    assert np.isnan(confidence[~valid]).all()
    assert result.class_pixels == {"class 0": 0, "class 1": 0, "class 2": int(valid.sum())}


@settings(max_examples=25, deadline=None)
@given(
    shape=shapes,
    tile_px=st.sampled_from([8, 16, 23]),
    overlap=st.sampled_from([0.0, 0.25, 0.6]),
    blend=st.sampled_from(BLENDS),
    block_px=st.sampled_from([16, 48, 2048]),
    augment=st.sampled_from(["none", "flips", "all"]),
    holes=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_one_band_model_reproduces_the_band_on_the_scenes_own_grid(
    make_scene: MakeScene, folder: Path, shape: tuple[int, int], tile_px: int, overlap: float,
    blend: str, block_px: int, augment: str, holes: bool, seed: int,
) -> None:  # fmt: skip
    data, valid = random_scene(make_scene, folder / "s.tif", shape, seed, holes=holes)
    bundle = bundle_of(
        OneBand(), classes=2, tile_px=tile_px, overlap=overlap, blend=blend, block_px=block_px,
        augment=augment,
    )  # fmt: skip
    predict(
        folder / "s.tif", bundle, if_exists="overwrite", execution="cpu",
        output=Products(folder / "m.tif", probabilities=folder / "p.tif"),
    )  # fmt: skip
    with rasterio.open(folder / "s.tif") as scene, rasterio.open(folder / "p.tif") as raster:
        assert raster.transform == scene.transform
        assert raster.crs == scene.crs
        assert raster.shape == scene.shape
        assert raster.descriptions == ("class 0", "class 1")
        shares = raster.read()
    assert np.allclose(shares[0][valid], data[1][valid], atol=1e-5)
    assert np.isnan(shares[:, ~valid]).all()


class Neighbourhood(nn.Module):
    """Depends on the place inside the tile, as a transformer does."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(0, 1, image.shape[-1])[None, None, None]
        mixed = nn.functional.avg_pool2d(image, 7, 1, 3) * 4 + ramp
        return torch.cat([mixed, 1 - mixed[:, :1]], dim=1)


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    dtype=st.sampled_from(["float32", "uint16", "int16"]),
    overlap=st.sampled_from([0.0, 0.25, 0.7]),
    block_px=st.integers(16, 80),
    batch_size=st.integers(1, 9),
    kept_bytes=st.sampled_from([1, 10**5, 10**9]),
)
@example(shape=(1, 17), dtype="float32", overlap=0.0, block_px=16, batch_size=2, kept_bytes=1)
@example(shape=(90, 90), dtype="uint16", overlap=0.7, block_px=20, batch_size=3, kept_bytes=1)
def test_scores_do_not_depend_on_block_batch_or_strip(
    make_scene: MakeScene, folder: Path, shape: tuple[int, int], dtype: str, overlap: float,
    block_px: int, batch_size: int, kept_bytes: int,
) -> None:  # fmt: skip
    """To the last bit: a pixel sums its tiles in one order, however the scene was cut."""
    random_scene(make_scene, folder / "s.tif", shape, 3, holes=True, dtype=dtype)
    maps = []
    for cut in ({}, {"block_px": block_px, "batch_size": batch_size}):
        bundle = bundle_of(Neighbourhood(), classes=3, tile_px=32, overlap=overlap, **cut)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sizing, "_SPILL_BYTES", kept_bytes)
            predict(
                folder / "s.tif", bundle, if_exists="overwrite", execution="cpu",
                output=Products(folder / "m.tif", probabilities=folder / "p.tif"),
            )  # fmt: skip
        with rasterio.open(folder / "p.tif") as raster:
            maps.append(raster.read())
    assert np.array_equal(*maps, equal_nan=True)


def test_empty_tiles_never_reach_the_model(make_scene: MakeScene, folder: Path) -> None:
    data = np.full((2, 64, 64), -9999, dtype=np.float32)
    data[:, 50:, 50:] = 0.5
    make_scene(folder / "s.tif", data, descriptions=("red", "nir"), nodata=-9999)
    network = Constant()
    (result,) = predict(
        folder / "s.tif", bundle_of(network, classes=3, tile_px=16, overlap=0.0),
        output=folder / "m.tif", if_exists="overwrite", execution="cpu",
    )  # fmt: skip
    assert network.seen == result.tiles == 1
    assert result.skipped == 15


def test_wholly_empty_scene_becomes_a_wholly_empty_map(make_scene: MakeScene, folder: Path) -> None:
    data = np.full((2, 20, 30), np.nan, dtype=np.float32)
    make_scene(folder / "s.tif", data, descriptions=("red", "nir"))
    predict(
        folder / "s.tif", bundle_of(Constant(), classes=3), if_exists="overwrite", execution="cpu",
        output=Products(folder / "m.tif", probabilities=folder / "p.tif"),
    )  # fmt: skip
    with rasterio.open(folder / "m.tif") as raster:
        assert (raster.read(1) == 255).all()


def test_bounds_give_the_same_pixels_as_the_whole_map(make_scene: MakeScene, folder: Path) -> None:
    random_scene(make_scene, folder / "s.tif", (97, 101), 5, holes=True)
    bundle = bundle_of(OneBand(), classes=2, tile_px=16)
    predict(
        folder / "s.tif",
        bundle,
        output=folder / "whole.tif",
        if_exists="overwrite",
        execution="cpu",
    )
    with rasterio.open(folder / "whole.tif") as whole:
        west, south, east, north = rasterio.warp.transform_bounds(
            whole.crs, "EPSG:4326", *whole.window_bounds(rasterio.windows.Window(20, 30, 40, 25))
        )
    predict(
        folder / "s.tif", bundle, output=folder / "part.tif", aoi=(west, south, east, north),
        if_exists="overwrite", execution="cpu",
    )  # fmt: skip
    with rasterio.open(folder / "whole.tif") as whole, rasterio.open(folder / "part.tif") as part:
        window = rasterio.windows.from_bounds(*part.bounds, whole.transform).round_offsets()
        assert (whole.read(1, window=window) == part.read(1)).all()
        assert 20 <= part.height <= 30


#: Types of files, with numbers that mean no data there, NaN and infinity among them.
TYPES = [
    ("uint8", 0.0), ("uint8", 255.0), ("int8", -128.0), ("uint16", 65535.0), ("int16", -32768.0),
    ("uint32", 0.0), ("int32", -(2.0**31)), ("float32", float("nan")), ("float32", -3.4e38),
    ("float64", float("nan")), ("float64", -1e300), ("float32", float("inf")),
]  # fmt: skip


class Scaled(nn.Module):
    """Its first probability is the second band, over 2000."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        share = (image[:, 1] / 2000).clamp(1e-7, 1 - 1e-7)
        return torch.log(torch.stack([share, 1 - share], dim=1))


@pytest.mark.parametrize(("dtype", "nodata"), TYPES)
@pytest.mark.parametrize("masked_by", ["nodata", "mask", "alpha"])
def test_any_type_and_any_way_to_say_no_data(
    make_scene: MakeScene, folder: Path, dtype: str, nodata: float, masked_by: str
) -> None:
    """Invariants 2 and 4: the band comes back where there is data, and nothing elsewhere."""
    data, valid = random_scene(
        make_scene, folder / "s.tif", (33, 29), 4, holes=True, dtype=dtype, nodata=nodata
    )
    if masked_by != "nodata":
        stated = masked_file(folder / "s.tif", data, valid, alpha=masked_by == "alpha")
        assert stated is None
    predict(
        folder / "s.tif", bundle_of(Scaled(), classes=2, overlap=0.25), if_exists="overwrite",
        execution="cpu", output=Products(folder / "m.tif", probabilities=folder / "p.tif"),
    )  # fmt: skip
    with rasterio.open(folder / "m.tif") as made, rasterio.open(folder / "p.tif") as shares:
        assert ((made.read(1) == 255) == ~valid).all()
        found = shares.read(1)
    assert np.allclose(found[valid], data[1][valid] / 2000, atol=1e-5)
    assert np.isnan(found[~valid]).all()


def masked_file(path: Path, data: np.ndarray, valid: np.ndarray, *, alpha: bool) -> float | None:
    """Write a scene anew whose validity is a mask inside the file, or an alpha band."""
    with rasterio.open(path) as given:
        profile = {**given.profile, "nodata": None, "count": 2 + alpha}
    full = np.array(np.iinfo(data.dtype).max if data.dtype.kind in "iu" else 255, data.dtype)
    filled = np.where(valid, data, np.array(1, data.dtype))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as out:
        out.write(filled, [1, 2])
        out.descriptions = ("red", "nir", "alpha")[: 2 + alpha]
        if alpha:
            out.colorinterp = (ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha)
            out.write(np.where(valid, full, 0).astype(data.dtype), 3)
        else:
            out.write_mask(valid)
        return out.nodata


class Mean(nn.Module):
    """Judges an image by the mean of its second band; its scores vary with the place in it."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        assert valid.flatten(1).any(dim=1).all(), "a tile without a valid pixel reached the model"
        ramp = torch.linspace(0.5, 1, image.shape[-1])
        share = (image[:, 1] * ramp).mean((1, 2)).clamp(1e-6, 1 - 1e-6)
        return torch.log(torch.stack([share, 1 - share], dim=1))


@settings(max_examples=12, deadline=None)
@given(
    shape=shapes,
    tile_px=st.sampled_from([8, 16, 23]),
    stride_px=st.sampled_from([3, 5, 16, 50]),
    block_px=st.sampled_from([16, 20, 64]),
    batch_size=st.integers(1, 9),
    holes=st.booleans(),
    dtype=st.sampled_from(["float32", "uint16", "int16"]),
)
@example(shape=(53, 101), tile_px=8, stride_px=50, block_px=20, batch_size=3, holes=False,
         dtype="float32")  # fmt: skip
def test_cells_depend_on_their_own_tile_alone(
    make_scene: MakeScene, folder: Path, shape: tuple[int, int], tile_px: int, stride_px: int,
    block_px: int, batch_size: int, holes: bool, dtype: str,
) -> None:  # fmt: skip
    """Invariants 3 and 4 for models of whole images, whatever the cut and however large a cell."""
    if max(shape) // stride_px > 40:
        stride_px = 5  # what is tested does not need thousands of them
    random_scene(make_scene, folder / "s.tif", shape, 3, holes=holes, dtype=dtype)
    scene = open_scene(folder / "s.tif")
    plan = PatchPlan(
        scene_grid=scene.grid, extent=scene.grid.full_window, tile_px=tile_px,
        stride_px=stride_px, block_px=64,
    )  # fmt: skip
    seen = {cell: plan.seen(*cell) for cell in np.ndindex(plan.grid.shape)}
    known = {cell for cell, window in seen.items()
             if window is not None and scene.read(window).valid.any()}  # fmt: skip
    assume(known)  # else the map would hold no pixel, which is refused
    maps = []
    for cut in ({}, {"block_px": block_px, "batch_size": batch_size}):
        bundle = bundle_of(
            Mean(), classes=2, per="image", tile_px=tile_px, stride_px=stride_px, **cut
        )
        predict(
            folder / "s.tif", bundle, if_exists="overwrite", execution="cpu",
            output=Products(folder / "m.tif", probabilities=folder / "p.tif"),
        )  # fmt: skip
        with rasterio.open(folder / "p.tif") as raster:
            maps.append(raster.read(1))
            assert raster.transform.a == 10 * stride_px
    assert np.allclose(*maps, atol=1e-6, equal_nan=True)
    assert maps[0].shape == plan.grid.shape
    for cell, found in np.ndenumerate(maps[0]):
        assert np.isnan(found) == (cell not in known)
