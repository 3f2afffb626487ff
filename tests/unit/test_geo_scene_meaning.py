"""What a file's numbers and bands mean: the user's word, the file's, the product's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from rsmeta.errors import (
    BandsUnrecognisedError,
    ConfigError,
    SceneError,
)
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.geo.sensors import Band

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

RED_NIR = ("red", "nir")


def write_tags(path: Path, tags: dict[str, str], band: int = 0) -> None:
    with rasterio.open(path, "r+") as file:
        file.update_tags(band, **tags)


def read_all(path: Path, rules: ReadRules | None = None) -> tuple[np.ndarray, np.ndarray]:
    scene = open_scene(path, rules)
    chip = scene.read(scene.grid.full_window)
    return chip.data, chip.valid


# --- scale and offset -------------------------------------------------------------------------


@pytest.fixture
def sentinel(tmp_path: Path, make_scene: MakeScene) -> Path:
    """Two bands of Sentinel-2, digital number 3000, one pixel 0."""
    pixels = np.full((2, 1, 2), 3000, np.uint16)
    pixels[:, 0, 1] = 0
    return make_scene(tmp_path / "s2.tif", pixels, descriptions=("B02", "B8A"))


@pytest.mark.parametrize(
    ("tags", "reflectance"),
    [
        ({}, 0.3),
        ({"PROCESSING_BASELINE": "02.14"}, 0.3),
        ({"PROCESSING_BASELINE": "03.01", "TIFFTAG_DATETIME": "2024:01:01 00:00:00"}, 0.3),
        ({"PROCESSING_BASELINE": "04.00"}, 0.2),
        ({"PROCESSING_BASELINE": "N0511", "PRODUCT_START_TIME": "2016-01-01T00:00:00Z"}, 0.2),
        ({"s2:processing_baseline": "05.09"}, 0.2),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": "true"}, 0.3),
        ({"PROCESSING_BASELINE": "05.09", "BOA_ADD_OFFSET": "-500"}, 0.25),
        ({"RADIO_ADD_OFFSET_0": "-1000", "RADIO_ADD_OFFSET_1": "-1000"}, 0.2),
        ({"BOA_ADD_OFFSET": "-1000", "BOA_QUANTIFICATION_VALUE": "20000"}, 0.1),
        ({"PROCESSING_BASELINE": "unknown"}, 0.3),
    ],
)
def test_sentinel2_offset_comes_from_the_metadata_never_the_date(
    sentinel: Path, tags: dict[str, str], reflectance: float
) -> None:
    write_tags(sentinel, tags)
    data, valid = read_all(sentinel)
    np.testing.assert_allclose(data[:, 0, 0], reflectance, rtol=1e-6)
    np.testing.assert_array_equal(valid, [[True, False]])


def test_sentinel2_offset_of_a_band(sentinel: Path) -> None:
    write_tags(sentinel, {"BOA_ADD_OFFSET": "-1000"}, band=1)
    np.testing.assert_allclose(read_all(sentinel)[0][:, 0, 0], [0.2, 0.3], rtol=1e-6)


def test_sentinel2_offsets_that_disagree_are_refused(sentinel: Path) -> None:
    write_tags(sentinel, {"BOA_ADD_OFFSET_0": "-1000", "BOA_ADD_OFFSET_1": "0"})
    with pytest.raises(SceneError, match=r"data\.offset"):
        open_scene(sentinel)


def test_sentinel2_under_common_names_is_known_by_its_platform(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    pixels = np.full((2, 1, 1), 3000, np.uint16)
    path = make_scene(tmp_path / "a.tif", pixels, descriptions=RED_NIR)
    assert read_all(path)[0][0, 0, 0] == 3000
    write_tags(path, {"platform": "sentinel-2b", "s2:processing_baseline": "05.00"})
    assert [band.name for band in open_scene(path).bands] == ["B04", "B08"]
    np.testing.assert_allclose(read_all(path)[0], 0.2, rtol=1e-6)


def test_the_files_own_scale_goes_before_the_sensors(
    sentinel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with rasterio.open(sentinel, "r+") as file:
        file.scales, file.offsets = (0.001, 0.001), (0.5, 0.5)
    np.testing.assert_allclose(read_all(sentinel)[0][:, 0, 0], 3.5, rtol=1e-6)
    assert "overrule" in caplog.text


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        (ReadRules(scale=0.01), 30.0),
        (ReadRules(scale=0.01, offset=1), 31.0),
        (ReadRules(offset=1), 1.3),
        (ReadRules(scale=1), 3000.0),
    ],
)
def test_the_users_scale_goes_before_everything(
    sentinel: Path, rules: ReadRules, value: float
) -> None:
    data, _ = read_all(sentinel, rules)
    np.testing.assert_allclose(data[:, 0, 0], value, rtol=1e-6)


def test_files_of_another_type_are_taken_as_they_are(tmp_path: Path, make_scene: MakeScene) -> None:
    path = make_scene(
        tmp_path / "a.tif", np.full((1, 1, 1), 0.25, np.float32), descriptions=["B02"]
    )
    write_tags(path, {"PROCESSING_BASELINE": "05.00"})
    assert read_all(path)[0] == 0.25


def test_landsat_surface_reflectance_and_temperature(tmp_path: Path, make_scene: MakeScene) -> None:
    path = make_scene(
        tmp_path / "a.tif", np.full((2, 1, 1), 20000, np.uint16), descriptions=("SR_B4", "ST_B10")
    )
    data, _ = read_all(path, ReadRules(sensor="landsat_oli"))
    np.testing.assert_allclose(data[:, 0, 0], [0.35, 217.3604], rtol=1e-6)


# --- bands and times ---------------------------------------------------------------------------


def test_bands_named_by_the_user(tmp_path: Path, make_scene: MakeScene) -> None:
    path = make_scene(tmp_path / "a.tif", np.zeros((2, 1, 1), np.int16))
    with pytest.raises(BandsUnrecognisedError, match="2 of 2 without description"):
        open_scene(path)
    assert open_scene(path, ReadRules(bands=("B04", "B08"))).bands[1].common_name == "nir"
    assert open_scene(path, ReadRules(bands=("nir", "depth"))).bands[1] == Band("depth")
    assert open_scene(path, ReadRules(sensor="sentinel1_grd")).bands[0].name == "VV"
    landsat = ReadRules(sensor="landsat_oli", bands=("B4", "B5"))
    assert [b.common_name for b in open_scene(path, landsat).bands] == ["red", "nir08"]
    with pytest.raises(ConfigError, match=r"names 3 bands.*has 2"):
        open_scene(path, ReadRules(bands=("B04", "B08", "B11")))
    with pytest.raises(ConfigError, match="twice"):
        open_scene(path, ReadRules(bands=("B4", "B04")))
    with pytest.raises(BandsUnrecognisedError, match="landsat_tm"):
        open_scene(path, ReadRules(bands=("B4", "B5")))
    with pytest.raises(BandsUnrecognisedError):
        open_scene(path, ReadRules(sensor="sentinel2_l2a"))


@pytest.mark.parametrize(
    "tags",
    [
        {"TIFFTAG_DATETIME": "2015:07:11 10:00:08"},
        {"PRODUCT_START_TIME": "2015-07-11T10:00:08.000Z"},
        {"datetime": "2015-07-11T12:00:08+02:00", "TIFFTAG_DATETIME": "2020:01:01 00:00:00"},
        {"SENSING_TIME": "soon", "TIFFTAG_DATETIME": "2015:07:11 10:00:08"},
    ],
)
def test_the_time_of_acquisition(sentinel: Path, tags: dict[str, str]) -> None:
    write_tags(sentinel, tags)
    assert open_scene(sentinel).acquired == datetime(2015, 7, 11, 10, 0, 8, tzinfo=UTC)
