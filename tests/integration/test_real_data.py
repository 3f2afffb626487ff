"""The shipped experiments on the real scenes they are for: small networks, whole workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio

from rsmeta.workflows.evaluate_map import evaluate_map
from rsmeta.workflows.mapping.predict_scenes import predict
from rsmeta.workflows.train import TrainResult, train
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SMALL = (
    "model.options={img_size: 32, patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}",
    "model.backbone=vit_tiny_patch16_224", "model.pretrained=false", "model.head=linear",
    "data.chips_per_epoch=32", "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
)  # fmt: skip


def trained(name: str, data: Path, output: Path, *more: str) -> TrainResult:
    config = ROOT / "configs" / "experiments" / f"{name}.yaml"
    return train(config, [f"data.root={data}", *SMALL, *more], output=output)


def test_cloudmask_two_sensors_to_a_third(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = shared_data / "cloudmask"
    run = trained("cloudmask", data, tmp_path / "run")
    assert run.metrics["bands"] == ["blue", "green", "red", "nir", "swir16", "swir22"]
    assert run.metrics["test"]["pixels"] == 512 * 512
    with caplog.at_level("WARNING", logger="rsmeta"):
        predict(data / "sentinel2.tif", run.bundle, output=tmp_path / "map.tif", execution="cpu")
    assert "3.0 times finer than the trained 30 m" in caplog.text
    result = evaluate_map(tmp_path / "map.tif", data / "sentinel2_mask.tif")
    assert result.pixels == 512 * 512
    # Barely trained, and yet no worse than calling everything land by much.
    assert result.accuracy is not None
    assert result.accuracy > 0.6


def test_beaufort_sparse_polygons_in_another_crs_and_unnamed_nodata(
    shared_data: Path, tmp_path: Path
) -> None:
    data = shared_data / "beaufort_s2"
    run = trained("beaufort", data, tmp_path / "run")
    assert sum(run.metrics["class_counts"].values()) > 300
    # A strip across the edge of the footprint, in degrees.
    with rasterio.open(data / "scene.tif") as scene:
        west, _, _, north = scene.bounds
        bounds = (west, north - 0.02, west + 0.03, north)
        predict(
            data / "scene.tif", run.bundle, output=tmp_path / "map.tif", aoi=bounds, execution="cpu"
        )
        with rasterio.open(tmp_path / "map.tif") as raster:
            window = rasterio.windows.from_bounds(*raster.bounds, scene.transform).round_offsets()
            assert raster.crs == scene.crs
            assert (raster.res) == scene.res
            mapped = raster.read(1)
            raw = scene.read(window=window.round_lengths())
    empty = (raw == 255).any(axis=0)
    assert 0.05 < empty.mean() < 0.95, "the strip crosses the footprint"
    assert ((mapped == 255) == empty).all(), "nodata exactly outside the footprint"


def test_slovenia_13_bands_five_dates_pixels_not_square(shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "slovenia_s2"
    run = trained("slovenia", data, tmp_path / "run")
    assert len(run.metrics["bands"]) == 13
    results = predict(
        [data / "scene_1.tif", data / "scene_4.tif"], run.bundle, output=tmp_path / "maps",
        execution="cpu",
    )  # fmt: skip
    for result, name in zip(results, ("scene_1", "scene_4"), strict=True):
        with (
            rasterio.open(result.products.map) as raster,
            rasterio.open(data / f"{name}.tif") as scene,
        ):
            assert raster.transform == scene.transform
            assert raster.res[0] != raster.res[1]
            assert raster.shape == scene.shape
            assert set(np.unique(raster.read(1)).tolist()) <= {1, 2, 3, 4, 8}


def test_training_on_a_scene_without_band_descriptions_needs_their_names(
    shared_data: Path, tmp_path: Path
) -> None:
    from rsmeta.errors import BandsUnrecognisedError
    from rsmeta.geo.scene import ReadRules, open_scene

    source = shared_data / "olinda_l7" / "scene.tif"
    with pytest.raises(BandsUnrecognisedError, match=r"data\.bands"):
        open_scene(source)
    scene = open_scene(source, ReadRules(bands=("blue", "green", "red", "nir", "swir16", "swir22")))
    assert [band.common_name for band in scene.bands][3] == "nir"
