"""Scenes unlike those trained on are warned about or refused; a map without a pixel is an error."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
import torch
from affine import Affine

import rsmeta
from rsmeta.errors import OutputError, RsmetaError, SceneError
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle
    from tests.conftest import MakeScene

NAMES = ("red", "nir")


class Bands(torch.nn.Module):
    """Its two bands as scores of pixels, or their means as scores of images."""

    def __init__(self, *, image: bool = False, broken: bool = False) -> None:
        super().__init__()
        self.image, self.broken = image, broken

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        scores = image.mean((2, 3)) if self.image else image
        return scores * float("nan") if self.broken else scores


def trained_on(mean: float, std: float, **settings: Any) -> ModelBundle:
    """Return a bundle whose training pixels had this mean and deviation in each band."""
    bundle = bundle_of(Bands(), classes=2, check_range=True, **settings)
    bands = tuple(
        band.model_copy(update={"data_mean": mean, "data_std": std}) for band in bundle.record.bands
    )
    record = bundle.record.model_copy(update={"bands": bands})
    return type(bundle)(record, bundle.network)


def scene_of(make_scene: MakeScene, path: Path, mean: float, std: float, **extra: Any) -> Path:
    noise = np.random.default_rng(1).normal(mean, std, (2, 300, 260)).astype(np.float32)
    return make_scene(path, noise, descriptions=NAMES, **extra)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("trained", "found", "words"),
    [
        ((0.16, 0.05), (1600, 500), (" is 1", "0.16 ± 0.05", "-a_scale 0.0001", "--sensor")),
        ((1600, 100), (0.16, 0.05), ("-a_scale 10000",)),
        ((0.06, 0.02), (-12, 3), ("decibels", "convert")),
        ((-12, 1), (0.06, 0.02), ("linear", "convert")),
        ((0.3, 0.02), (0.9, 0.02), ("check its scaling, units and season",)),
    ],
)
def test_values_beyond_doubt_are_refused_unless_told_otherwise(
    tmp_path: Path, make_scene: MakeScene, caplog: pytest.LogCaptureFixture,
    trained: tuple[float, float], found: tuple[float, float], words: tuple[str, ...],
) -> None:  # fmt: skip
    scene = scene_of(make_scene, tmp_path / "s.tif", *found)
    with pytest.raises(SceneError, match="check_range=false") as caught:
        rsmeta.predict(scene, trained_on(*trained), output=tmp_path / "m.tif", execution="cpu")
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "m.tif").exists()
    rsmeta.predict(
        scene, trained_on(*trained), output=tmp_path / "m.tif", execution="cpu",
        settings={"check_range": False},
    )  # fmt: skip
    (said,) = warnings_in(caplog)
    assert "the map may be wrong" in said


@pytest.mark.parametrize(("mean", "warned"), [(0.16, False), (0.25, False), (0.36, True)])
def test_what_is_far_off_is_warned_about_once(
    tmp_path: Path, make_scene: MakeScene, caplog: pytest.LogCaptureFixture, mean: float,
    warned: bool,
) -> None:  # fmt: skip
    scene = scene_of(make_scene, tmp_path / "s.tif", mean, 0.03)
    rsmeta.predict(scene, trained_on(0.16, 0.05), output=tmp_path / "m.tif", execution="cpu")
    assert len(warnings_in(caplog)) == warned


def test_one_strange_band_is_named(
    tmp_path: Path, make_scene: MakeScene, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.random.default_rng(1).normal(0.16, 0.03, (2, 200, 200)).astype(np.float32)
    pixels[1] *= 100
    scene = make_scene(tmp_path / "s.tif", pixels, descriptions=NAMES)
    rsmeta.predict(scene, trained_on(0.16, 0.05), output=tmp_path / "m.tif", execution="cpu")
    (said,) = warnings_in(caplog)
    assert "nir is 16" in said


def test_only_valid_pixels_count_wherever_they_are(tmp_path: Path, make_scene: MakeScene) -> None:
    pixels = np.full((2, 1500, 1500), -9999, np.float32)
    pixels[:, 900:950, 80:130] = 1600
    scene = make_scene(tmp_path / "s.tif", pixels, descriptions=NAMES, nodata=-9999)
    with pytest.raises(SceneError, match="red is 1600 on average"):
        rsmeta.predict(scene, trained_on(0.16, 0.05), output=tmp_path / "m.tif", execution="cpu")
    pixels[:, 900:950, 80:130] = 0.16
    make_scene(scene, pixels, descriptions=NAMES, nodata=-9999)
    rsmeta.predict(scene, trained_on(0.16, 0.05), output=tmp_path / "m.tif", execution="cpu")


def test_a_bundle_without_statistics_checks_nothing(tmp_path: Path, make_scene: MakeScene) -> None:
    scene = scene_of(make_scene, tmp_path / "s.tif", 1600, 500)
    bundle = bundle_of(Bands(), classes=2, check_range=True)
    bands = tuple(b.model_copy(update={"statistics_of": "weights"}) for b in bundle.record.bands)
    record = bundle.record.model_copy(update={"bands": bands})
    rsmeta.predict(
        scene, type(bundle)(record, bundle.network), output=tmp_path / "m.tif", execution="cpu"
    )


# -- maps without a pixel ----------------------------------------------------------------------


@pytest.fixture
def half(tmp_path: Path, make_scene: MakeScene) -> Path:
    """A scene whose left half has no data."""
    pixels = np.random.default_rng(1).uniform(0.1, 0.9, (2, 64, 80)).astype(np.float32)
    pixels[:, :, :40] = -9999
    return make_scene(tmp_path / "s.tif", pixels, descriptions=NAMES, nodata=-9999)


def empty_part(scene: Path, kind: str) -> Any:
    """Return an area of interest inside the half without data."""
    with rasterio.open(scene) as dataset:
        left, bottom, _, top = dataset.bounds
        box, crs = (left, bottom, left + 300, top), dataset.crs
    if kind == "bounds":
        return rasterio.warp.transform_bounds(crs, "EPSG:4326", *box)
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(*box)], crs=crs)
    frame.to_file(scene.with_name("aoi.gpkg"))
    return scene.with_name("aoi.gpkg")


@pytest.mark.parametrize("kind", ["bounds", "polygons"])
@pytest.mark.parametrize("per", ["pixel", "image"])
def test_an_area_without_a_pixel_of_a_scene_that_has_some(
    half: Path, tmp_path: Path, kind: str, per: str
) -> None:
    bundle = bundle_of(Bands(image=per == "image"), classes=2, per=per, tile_px=8)
    with pytest.raises(OutputError, match=r"would hold no pixel, though .* has data"):
        rsmeta.predict(
            half, bundle, output=tmp_path / "m.tif", aoi=empty_part(half, kind), execution="cpu"
        )
    assert not list(tmp_path.glob("*m.tif*"))


@pytest.mark.parametrize("given", [{"majority_px": 3}, {"crs": "EPSG:3035"}, {"mosaic": "first"}])
def test_neither_is_a_postprocessed_map_without_one(
    half: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    bundle = bundle_of(Bands(), classes=2)
    with pytest.raises(OutputError, match="would hold no pixel"):
        rsmeta.predict(
            half, bundle, output=tmp_path / "m.tif", aoi=empty_part(half, "polygons"),
            postprocess=rsmeta.Postprocess(**given), execution="cpu",
        )  # fmt: skip
    assert not (tmp_path / "m.tif").exists()


def test_a_grid_that_misses_the_data(half: Path, tmp_path: Path, make_scene: MakeScene) -> None:
    with rasterio.open(half) as dataset:
        t = dataset.transform
    like = make_scene(tmp_path / "like.tif", np.zeros((1, 20, 20), np.uint8), transform=t)
    bundle = bundle_of(Bands(), classes=2)
    wanted = rsmeta.Postprocess(like=like)
    with pytest.raises(RsmetaError, match="would hold no pixel"):
        rsmeta.predict(half, bundle, output=tmp_path / "m.tif", postprocess=wanted, execution="cpu")
    far = Affine(t.a, t.b, t.c + 1e6, t.d, t.e, t.f)
    make_scene(like, np.zeros((1, 20, 20), np.uint8), transform=far)
    with pytest.raises(RsmetaError):
        rsmeta.predict(half, bundle, output=tmp_path / "m.tif", postprocess=wanted, execution="cpu")
    assert not (tmp_path / "m.tif").exists()


@pytest.mark.parametrize("per", ["pixel", "image"])
def test_scores_that_are_no_numbers(half: Path, tmp_path: Path, per: str) -> None:
    network = Bands(image=per == "image", broken=True)
    bundle = bundle_of(network, classes=2, per=per, tile_px=8)
    with pytest.raises(OutputError, match=r"scores of all .* are not finite"):
        rsmeta.predict(half, bundle, output=tmp_path / "m.tif", execution="cpu")
    assert not list(tmp_path.glob("*m.tif*"))


def test_a_scene_without_data_gives_a_map_without_data(
    tmp_path: Path, make_scene: MakeScene, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.full((2, 30, 30), -9999, np.float32)
    scene = make_scene(tmp_path / "s.tif", pixels, descriptions=NAMES, nodata=-9999)
    rsmeta.predict(scene, bundle_of(Bands(), classes=2), output=tmp_path / "m.tif")
    assert (tmp_path / "m.tif").is_file()
    assert "the scene has no data" in caplog.text


def test_one_scene_of_a_mosaic_may_be_empty(
    half: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    random_scene(make_scene, tmp_path / "full.tif", (64, 80), 1, holes=False)
    rsmeta.predict(
        [half, tmp_path / "full.tif"], bundle_of(Bands(), classes=2), output=tmp_path / "m.tif",
        aoi=empty_part(half, "polygons"), postprocess=rsmeta.Postprocess(mosaic="first"),
        execution="cpu",
    )  # fmt: skip
    with rasterio.open(tmp_path / "m.tif") as dataset:
        assert (dataset.read(1) != dataset.nodata).any()
