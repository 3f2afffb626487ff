"""The options of ``predict``: how they may be given, and the names they had before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rasterio.warp
import torch

import rsmeta
from rsmeta.errors import ConfigError, OutputError, RsmetaError, SceneError
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle
    from tests.conftest import MakeScene


class Bands(torch.nn.Module):
    """Its two bands as scores."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return image


@pytest.fixture
def scene(tmp_path: Path, make_scene: MakeScene) -> Path:
    random_scene(make_scene, tmp_path / "s.tif", (40, 60), 3, holes=False)
    return tmp_path / "s.tif"


@pytest.fixture
def bundle() -> ModelBundle:
    return bundle_of(Bands(), classes=2, tile_px=16)


def mapped(path: Path, scene: Path, bundle: ModelBundle, **options: Any) -> np.ndarray:
    rsmeta.predict(scene, bundle, **{"output": path, **options})
    with rasterio.open(path) as dataset:
        values: np.ndarray = dataset.read(1)
    return values


def bounds_of_left_half(scene: Path) -> tuple[float, float, float, float]:
    with rasterio.open(scene) as dataset:
        left, bottom, right, top = dataset.bounds
        return rasterio.warp.transform_bounds(
            dataset.crs, "EPSG:4326", left, bottom, (left + right) / 2, top
        )


def test_old_keywords_mean_what_they_meant_and_name_the_new(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    bounds, sieve = bounds_of_left_half(scene), rsmeta.Postprocess(sieve_px=4)
    for old, new in (
        ({"bounds": bounds}, {"aoi": bounds}),
        ({"device": "cpu"}, {"execution": "cpu"}),
        ({"refine": sieve}, {"postprocess": sieve}),
    ):
        (name,) = old
        with pytest.warns(
            DeprecationWarning, match=rf"{name}=… is deprecated; use {next(iter(new))}"
        ):
            before = mapped(tmp_path / f"{name}_old.tif", scene, bundle, **old)
        np.testing.assert_array_equal(
            before, mapped(tmp_path / f"{name}.tif", scene, bundle, **new)
        )
    with pytest.warns(DeprecationWarning, match='use if_exists="overwrite"') as warned:
        mapped(tmp_path / "device.tif", scene, bundle, overwrite=True)
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="use output=Products"):
        mapped(tmp_path / "m.tif", scene, bundle, summary=tmp_path / "s.json")
    assert (tmp_path / "s.json").is_file()


def test_what_exists_is_an_error_replaced_or_kept(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    output = tmp_path / "m.tif"
    first = rsmeta.predict(scene, bundle, output=output)
    with pytest.raises(OutputError, match="exists already"):
        rsmeta.predict(scene, bundle, output=output)
    again = rsmeta.predict(scene, bundle, output=output, if_exists="resume")
    fresh = rsmeta.predict(scene, bundle, output=output, if_exists="overwrite")
    assert [one[0].status for one in (first, again, fresh)] == ["mapped", "kept", "mapped"]


def test_settings_are_strings_or_a_mapping(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    for given in (["block_px=16", "overlap=0.5"], {"block_px": 16, "overlap": 0.5}):
        (result,) = rsmeta.predict(
            scene, bundle, output=tmp_path / "m.tif", settings=given, if_exists="overwrite"
        )
        assert result.block_px == 16
    with pytest.raises(ConfigError, match="overlap"):
        rsmeta.predict(scene, bundle, output=tmp_path / "n.tif", settings={"overlap": 2})


def test_an_execution_is_a_device_or_workers_of_one_kind(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    here = mapped(tmp_path / "a.tif", scene, bundle, execution="cpu")
    there = mapped(tmp_path / "b.tif", scene, bundle, execution=rsmeta.Execution(device="cpu"))
    np.testing.assert_array_equal(here, there)
    with pytest.raises(ConfigError, match="give one of them"):
        rsmeta.Execution(workers=2, dask="tcp://127.0.0.1:1")


def test_the_sensor_of_scenes_whose_names_fit_several(
    tmp_path: Path, make_scene: MakeScene, bundle: ModelBundle
) -> None:
    raw = np.full((2, 20, 20), 3000, np.uint16)
    raw[1] = 6000
    scene = make_scene(tmp_path / "s.tif", raw, descriptions=("B4", "B8"))
    with pytest.raises(SceneError, match="cannot recognise the bands"):
        rsmeta.predict(scene, bundle, output=tmp_path / "m.tif")
    trained = bundle.record.read.model_copy(update={"bands": ("blue", "red", "nir")})
    other = replace(bundle, record=bundle.record.model_copy(update={"read": trained}))
    with pytest.raises(SceneError, match="the model was trained on files of 3 bands: give such"):
        rsmeta.predict(scene, other, output=tmp_path / "m.tif")
    products = rsmeta.Products(tmp_path / "m.tif", probabilities=tmp_path / "p.tif")
    rsmeta.predict(scene, bundle, output=products, settings={"sensor": "sentinel2_l2a"})
    with rasterio.open(tmp_path / "p.tif") as dataset:
        red, nir = dataset.read()[:, 5, 5]
    assert nir - red == pytest.approx(np.tanh((0.6 - 0.3) / 2), abs=1e-4)  # of reflectances
    with pytest.raises(RsmetaError, match="sentinel2_l2a"):  # the nearest name
        rsmeta.predict(
            scene, bundle, output=tmp_path / "n.tif", settings={"sensor": "sentinel2_l2"}
        )


def test_maps_in_a_folder_of_scenes_are_no_scenes(
    tmp_path: Path, scene: Path, bundle: ModelBundle
) -> None:
    products = rsmeta.Products(tmp_path / "s_map.tif", confidence=tmp_path / "s_sure.tif")
    rsmeta.predict(scene, bundle, output=products)
    for pattern in (tmp_path, f"{tmp_path}/*.tif"):
        results = rsmeta.predict(pattern, bundle, output=tmp_path / "maps", if_exists="overwrite")
        assert [result.scene for result in results] == [str(scene)]


class Scarce(torch.nn.Module):
    """Judges images by their mean; has memory for two at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        if len(image) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(image))
        return image.mean((2, 3))


def test_images_are_labelled_in_smaller_batches_where_memory_runs_out(
    tmp_path: Path, make_scene: MakeScene, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(7):
        random_scene(make_scene, tmp_path / f"images/{i}.tif", (16, 16), i, holes=False)
    network = Scarce()
    bundle = bundle_of(network, classes=2, per="image", tile_px=16, batch_size=5)
    found = rsmeta.predict_images(tmp_path / "images", bundle, output=tmp_path / "l.csv")
    assert [row["image"].rpartition("/")[2] for row in found.rows] == [f"{i}.tif" for i in range(7)]
    assert max(network.sizes) == 2
    assert sum(network.sizes) == 7
    assert [r.getMessage() for r in caplog.records if "memory" in r.getMessage()] == [
        "cpu ran out of memory; continuing with 2 tiles at once"
    ]


class Tiles(Bands):
    """Its two bands as scores; remembers the sides of tiles."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: set[int] = set()

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        self.sides.add(image.shape[-1])
        return image


def test_larger_tiles_overlap_by_as_many_pixels_and_are_fewer(tmp_path: Path, scene: Path) -> None:
    network = Tiles()
    bundle = bundle_of(network, classes=2, tile_px=16, overlap=0.25)

    def tiles(name: str, **settings: Any) -> int:
        (result,) = rsmeta.predict(scene, bundle, output=tmp_path / name, settings=settings)
        return result.tiles

    # A step of 12 of 40 x 60 pixels, of 28, and of 16.
    assert tiles("usual.tif") == 3 * 5
    assert tiles("larger.tif", tile_px=32) == 2 * 2
    assert tiles("more.tif", tile_px=32, overlap=0.5) == 2 * 3
    assert network.sides == {16, 32}
    maps = []
    for name in ("usual.tif", "larger.tif", "more.tif"):
        with rasterio.open(tmp_path / name) as dataset:
            maps.append(dataset.read(1))
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
    with pytest.raises(ConfigError, match="trained for tiles of 16 px; give at least as many"):
        tiles("smaller.tif", tile_px=8)
