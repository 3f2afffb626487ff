"""Scenes: physical values, and validity from wherever a file or a user states it."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from rsmeta.errors import (
    BandsMissingError,
    BandsUnrecognisedError,
    SceneError,
    SceneNotFoundError,
    SceneUnreadableError,
)
from rsmeta.geo.scene import ReadRules, Scene, expand_sources, open_scene
from rsmeta.geo.sensors import Band, load_sensor

if TYPE_CHECKING:
    from tests.conftest import MakeScene

RED_NIR = ("red", "nir")


@pytest.fixture
def counting(tmp_path: Path, make_scene: MakeScene) -> Path:
    """Two float bands, 5 x 7, that count their pixels; the second is 100 more."""
    band = np.arange(35, dtype=np.float32).reshape(5, 7)
    return make_scene(tmp_path / "count.tif", np.stack([band, band + 100]), descriptions=RED_NIR)


def read_all(path: Path, rules: ReadRules | None = None) -> tuple[np.ndarray, np.ndarray]:
    scene = open_scene(path, rules)
    chip = scene.read(scene.grid.full_window)
    return chip.data, chip.valid


# --- reading ----------------------------------------------------------------------------------


def test_a_scene_knows_its_file(counting: Path) -> None:
    scene = open_scene(counting)
    assert [band.name for band in scene.bands] == ["red", "nir"]
    assert scene.grid.crs == CRS.from_epsg(32633)
    assert scene.grid.shape == (5, 7)
    assert scene.dtype == "float32"
    assert scene.acquired is None


@settings(deadline=None)
@given(
    row=st.integers(-9, 9),
    col=st.integers(-9, 9),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_windows_may_reach_over_the_edges(
    tmp_path_factory: pytest.TempPathFactory,
    make_scene: MakeScene,
    row: int,
    col: int,
    height: int,
    width: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "edges.tif"
    pixels = np.arange(1, 36, dtype=np.int16).reshape(1, 5, 7)
    if not path.exists():
        make_scene(path, pixels, descriptions=["red"])
    scene = open_scene(path)
    chip = scene.read(Window(col, row, width, height))
    padded = np.pad(pixels[0], 20)[20 + row :, 20 + col :][:height, :width]
    np.testing.assert_array_equal(chip.data[0], padded)
    np.testing.assert_array_equal(chip.valid, padded > 0)
    assert chip.grid == scene.grid.crop(Window(col, row, width, height))


def test_select_takes_bands_by_name_in_the_order_asked(counting: Path) -> None:
    scene = open_scene(counting).select([Band("nir", "nir")])
    np.testing.assert_array_equal(
        scene.read(Window(2, 1, 2, 1)).data, np.array([[[109, 110]]], np.float32)
    )
    turned = open_scene(counting).select([Band("B08", "nir"), Band("B04", "red")])
    assert turned.band_indexes == (2, 1)
    with pytest.raises(BandsMissingError, match="swir16"):
        open_scene(counting).select([Band("swir16", "swir16")])


def test_scenes_go_to_other_threads_and_processes(counting: Path) -> None:
    scene = open_scene(counting)
    expected = scene.read(scene.grid.full_window).data
    again: Scene = pickle.loads(pickle.dumps(scene))
    assert again == scene
    with ThreadPoolExecutor(4) as threads:
        for chip in threads.map(scene.read, [scene.grid.full_window] * 16):
            np.testing.assert_array_equal(chip.data, expected)
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        np.testing.assert_array_equal(processes.apply(_data_of, (scene,)), expected)


def _data_of(scene: Scene) -> np.ndarray:
    return scene.read(scene.grid.full_window).data


def test_a_file_that_changed_is_read_anew(counting: Path, make_scene: MakeScene) -> None:
    scene = open_scene(counting)
    scene.read(scene.grid.full_window)
    counting.unlink()
    make_scene(counting, np.full((2, 5, 7), 7, np.float32), descriptions=RED_NIR, compress="lzw")
    assert (scene.read(scene.grid.full_window).data == 7).all()


def test_without_georeferencing_nothing_is_warned(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8"
        ) as file:
            file.write(np.ones((1, 2, 2), np.uint8))
            file.set_band_description(1, "red")
    scene = open_scene(path)
    assert scene.grid.crs is None
    assert scene.grid.transform == Affine.identity()
    assert scene.read(scene.grid.full_window).valid.all()


def test_vrt_and_vsi_sources(counting: Path, tmp_path: Path) -> None:
    vrt = tmp_path / "count.vrt"
    rasterio.shutil.copy(counting, vrt, driver="VRT")
    expected, _ = read_all(counting)
    np.testing.assert_array_equal(read_all(vrt)[0], expected)
    with rasterio.MemoryFile(counting.read_bytes()) as memory:
        scene = open_scene(memory.name)
        np.testing.assert_array_equal(scene.read(scene.grid.full_window).data, expected)


# --- validity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tag", "rule", "hole"),
    [
        ("uint8", 255, None, 255),
        ("uint8", None, 255, 255),
        ("uint8", 7, 255, 255),
        ("int16", -9999, None, -9999),
        ("float32", -3.4e38, None, -3.4e38),
        ("float32", -9999.9, None, -9999.9),
        ("float32", float("nan"), None, np.nan),
        ("float32", None, None, np.nan),
        ("float32", None, None, np.inf),
        ("float64", None, None, 1e300),
    ],
)
def test_where_one_band_has_no_data(
    tmp_path: Path,
    make_scene: MakeScene,
    dtype: str,
    tag: float | None,
    rule: float | None,
    hole: float,
) -> None:
    pixels = np.full((2, 2, 3), 7, dtype)
    pixels[0, 0, 0] = pixels[0, 1, 2] = pixels[1, 1, 2] = hole
    path = make_scene(tmp_path / "holes.tif", pixels, descriptions=RED_NIR, nodata=tag)
    data, valid = read_all(path, ReadRules(nodata=rule))
    np.testing.assert_array_equal(valid, [[False, True, True], [True, True, False]])
    np.testing.assert_array_equal(data[:, 0, 0], [0, 7])
    data, valid = read_all(path, ReadRules(nodata=rule, valid_if="any"))
    np.testing.assert_array_equal(valid, [[True, True, True], [True, True, False]])
    np.testing.assert_array_equal(data[:, 0, 0], [0, 7])
    np.testing.assert_array_equal(data[:, 1, 2], 0)


def test_only_bands_in_use_decide(tmp_path: Path, make_scene: MakeScene) -> None:
    pixels = np.ones((2, 1, 2), np.uint8)
    pixels[0, 0, 0] = 0
    path = make_scene(tmp_path / "a.tif", pixels, descriptions=RED_NIR, nodata=0)
    scene = open_scene(path).select([Band("nir", "nir")])
    assert scene.read(scene.grid.full_window).valid.all()


def test_nodata_is_compared_before_scaling(tmp_path: Path, make_scene: MakeScene) -> None:
    path = make_scene(
        tmp_path / "a.tif", np.array([[[0, 10000]]], np.uint16), descriptions=["red"], nodata=10000
    )
    data, valid = read_all(path, ReadRules(scale=0.0001, offset=-0.1))
    np.testing.assert_array_equal(valid, [[True, False]])
    np.testing.assert_allclose(data, [[[-0.1, 0]]])


@pytest.mark.parametrize("rule", [-9999.0, 0.5, float("nan"), float("inf")])
def test_a_nodata_value_that_cannot_occur_hides_nothing(
    tmp_path: Path, make_scene: MakeScene, rule: float
) -> None:
    path = make_scene(tmp_path / "a.tif", np.zeros((1, 2, 2), np.uint8), descriptions=["red"])
    assert read_all(path, ReadRules(nodata=rule))[1].all()


@pytest.mark.parametrize("internal", [True, False])
def test_masks_of_the_dataset(tmp_path: Path, make_scene: MakeScene, internal: bool) -> None:
    path = make_scene(tmp_path / "a.tif", np.ones((2, 1, 3), np.uint8), descriptions=RED_NIR)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        file.write_mask(np.array([[True, False, True]]))
    assert (tmp_path / "a.tif.msk").exists() is not internal
    data, valid = read_all(path)
    np.testing.assert_array_equal(valid, [[True, False, True]])
    np.testing.assert_array_equal(data[:, 0, 1], 0)
    np.testing.assert_array_equal(read_all(path, ReadRules(nodata=1))[1], False)


def test_alpha_is_validity_not_a_band(tmp_path: Path, make_scene: MakeScene) -> None:
    pixels = np.full((4, 1, 3), 9, np.uint8)
    pixels[3] = [0, 1, 255]
    path = make_scene(tmp_path / "rgba.tif", pixels, photometric="rgb", alpha="yes")
    scene = open_scene(path)
    assert [band.name for band in scene.bands] == ["red", "green", "blue"]
    np.testing.assert_array_equal(scene.read(scene.grid.full_window).valid, [[False, True, True]])


@pytest.mark.parametrize(
    ("descriptions", "rules"),
    [
        ((), ReadRules(sensor="naip")),
        ((), ReadRules(bands=("R", "G", "B", "NIR"))),
        (("red", "green", "blue", "nir"), ReadRules()),
    ],
)
def test_a_fourth_8_bit_band_that_gdal_calls_alpha(
    tmp_path: Path, make_scene: MakeScene, descriptions: tuple[str, ...], rules: ReadRules
) -> None:
    pixels = np.zeros((4, 1, 2), np.uint8)
    path = make_scene(tmp_path / "naip.tif", pixels, descriptions=descriptions)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    scene = open_scene(path, rules)
    assert [band.common_name for band in scene.bands] == ["red", "green", "blue", "nir"]
    assert scene.read(scene.grid.full_window).valid.all()


# --- files that cannot be read -----------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    for source in (tmp_path / "no.tif", tmp_path, "/vsimem/no.tif"):
        with pytest.raises(SceneNotFoundError, match="no scene at"):
            open_scene(source)


@pytest.mark.parametrize("content", [b"", b"just text", b"II*\0"])
def test_files_that_are_no_rasters(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.tif"
    path.write_bytes(content)
    with pytest.raises(SceneUnreadableError, match=r"text\.tif"):
        open_scene(path)


def test_a_truncated_file_fails_with_a_sentence_when_it_is_read(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 200, 200), dtype=np.uint8)
    path = make_scene(tmp_path / "cut.tif", pixels, descriptions=["red"], compress="deflate")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SceneUnreadableError, match=r"cut\.tif.*complete"):
        read_all(path)


def test_complex_numbers_are_refused(tmp_path: Path, make_scene: MakeScene) -> None:
    path = make_scene(tmp_path / "slc.tif", np.zeros((1, 2, 2), np.complex64), descriptions=["VV"])
    with pytest.raises(SceneError, match="complex"):
        open_scene(path)


# --- patterns ---------------------------------------------------------------------------------


def test_patterns_mean_files_in_natural_order(tmp_path: Path) -> None:
    for name in ("s_10.tif", "s_2.TIF", "s_2.tif.aux.xml", "a.vrt", "note.txt", ".s_1.tif"):
        (tmp_path / name).touch()
    expanded = expand_sources(["s_*", ".", "/vsizip/x.zip/a.tif", "https://x.y/a.tif"], tmp_path)
    assert [Path(source).name for source in expanded] == [
        "s_2.TIF",
        "s_10.tif",
        "a.vrt",
        "a.tif",
        "a.tif",
    ]
    assert expanded[-1] == "https://x.y/a.tif"
    assert expand_sources([tmp_path / "a.vrt"]) == [tmp_path / "a.vrt"]


@pytest.mark.parametrize("pattern", ["no.tif", "*.jp2", "empty", ""])
def test_patterns_without_a_scene(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneNotFoundError):
        expand_sources([pattern], tmp_path)


# --- real imagery -----------------------------------------------------------------------------


@pytest.mark.parametrize("date", range(5))
def test_slovenia(shared_data: Path, date: int) -> None:
    scene = open_scene(shared_data / "slovenia_s2" / f"scene_{date}.tif")
    assert scene.bands == load_sensor("sentinel2_l1c").bands
    chip = scene.read(scene.grid.full_window)
    assert chip.valid.all()
    assert -0.1 < chip.data.min() < chip.data.max() < 2
    assert scene.grid.pixel_size[0] != scene.grid.pixel_size[1]


def test_three_sensors_of_one_task(shared_data: Path) -> None:
    scenes = [
        open_scene(shared_data / "cloudmask" / f"{name}.tif")
        for name in ("sentinel2", "landsat5", "landsat7")
    ]
    for scene in scenes:
        assert scene.select(scenes[0].bands).bands == scenes[0].bands
        chip = scene.read(Window(100, 100, 64, 64))
        assert 0 <= chip.data.min() < chip.data.max() < 2


def test_beaufort_has_nodata_only_by_the_users_word(shared_data: Path) -> None:
    path = shared_data / "beaufort_s2" / "scene.tif"
    window = Window(0, 0, 600, 600)
    assert open_scene(path).read(window).valid.all()
    scene = open_scene(path, ReadRules(nodata=255))
    with rasterio.open(path) as file:
        expected = (file.read(window=window) != 255).all(axis=0)
    np.testing.assert_array_equal(scene.read(window).valid, expected)
    assert 0 < expected.mean() < 1
    assert scene.grid.gsd_m == pytest.approx(8.2, abs=0.1)


def test_olinda_needs_names(shared_data: Path) -> None:
    path = shared_data / "olinda_l7" / "scene.tif"
    with pytest.raises(BandsUnrecognisedError, match=r"data\.bands"):
        open_scene(path)
    names = ("B1", "B2", "B3", "B4", "B5", "B7")
    scene = open_scene(path, ReadRules(sensor="landsat_etm", bands=names))
    assert [band.common_name for band in scene.bands] == [
        "blue",
        "green",
        "red",
        "nir",
        "swir16",
        "swir22",
    ]
    assert scene.read(scene.grid.full_window).data.max() == 255
