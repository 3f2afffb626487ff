"""Sensors, and bands told by name: never guessed, never by position."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from rsmeta.errors import (
    BandsMissingError,
    BandsUnrecognisedError,
    ConfigError,
    UnknownNameError,
)
from rsmeta.geo.bands import COMMON_NAMES
from rsmeta.geo.sensors import Band, load_sensor, match_bands, recognise_bands, sensor_names

if TYPE_CHECKING:
    from pathlib import Path

S2_L1C = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
SIX = ("blue", "green", "red", "nir", "swir16", "swir22")


def test_the_sensors_of_the_issue_are_there() -> None:
    assert set(sensor_names()) >= {
        "sentinel2_l1c",
        "sentinel2_l2a",
        "landsat_tm",
        "landsat_etm",
        "landsat_oli",
        "sentinel1_grd",
        "naip",
        "rgb",
        "sar",
    }


@pytest.mark.parametrize("name", sensor_names())
def test_every_sensor_is_complete(name: str) -> None:
    sensor = load_sensor(name)
    assert sensor.name == name
    assert sensor.title
    assert sensor.unit
    assert len({band.name for band in sensor.bands}) == len(sensor.bands)
    for band in sensor.bands:
        assert band.common_name is None or band.common_name in COMMON_NAMES
        if band.common_name is not None and band.wavelength_nm is not None:
            assert band.wavelength_nm == pytest.approx(COMMON_NAMES[band.common_name], rel=0.16)


def test_sentinel2_has_its_bands_in_order() -> None:
    assert [band.name for band in load_sensor("sentinel2_l1c").bands] == S2_L1C
    without_cirrus = [name for name in S2_L1C if name != "B10"]
    assert [band.name for band in load_sensor("sentinel2_l2a").bands] == without_cirrus


def test_select_by_name_and_common_name_in_any_spelling() -> None:
    chosen = load_sensor("sentinel2_l1c").select(["nir", "b8a", "B2", "SWIR22"])
    assert [band.name for band in chosen.bands] == ["B08", "B8A", "B02", "B12"]
    with pytest.raises(BandsMissingError, match="thermal"):
        load_sensor("sentinel2_l1c").select(["B02", "thermal"])


def test_thermal_bands_have_a_scale_of_their_own() -> None:
    sensor = load_sensor("landsat_oli")
    red, thermal = sensor.select(["B4", "B10"]).bands
    assert sensor.scaling(red) == (0.0000275, -0.2)
    assert sensor.scaling(thermal) == (0.00341802, 149.0)


def test_a_sensor_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "drone.yaml"
    path.write_text(
        "dtype: uint16\nscale: 2e-5\nbands: [{name: G, common_name: green}, {name: RE}]\n"
    )
    for given in (path, str(path)):
        sensor = load_sensor(given)
        assert (sensor.name, sensor.scale, sensor.dtype) == ("drone", 2e-5, "uint16")
        assert sensor.bands == (Band("G", "green"), Band("RE"))
    assert load_sensor({"name": "x", "bands": [{"name": "A"}]}).bands == (Band("A"),)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"bands": [{"name": "A"}], "scail": 1}, "scale"),
        ({"bands": [{"name": "A", "wavelenght_nm": 1}]}, "wavelenght_nm"),
        ({"bands": [{"name": "A", "common_name": "infrared"}]}, "infrared"),
        ({"bands": [{"name": "B1"}, {"name": "b01"}]}, "b01|B1"),
        ({"bands": []}, "bands"),
        ({"bands": [{"name": "A"}], "dtype": "uint17"}, "uint17"),
    ],
)
def test_a_sensor_file_is_strict(mapping: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_sensor(mapping)


def test_an_unknown_sensor_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="sentinel2_l2a"):
        load_sensor("sentinel2-l2a")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_sensor("nowhere.yaml")


@pytest.mark.parametrize("names", [S2_L1C, [f" {name.lower()} " for name in S2_L1C]])
def test_sentinel2_is_told_by_its_names(names: list[str]) -> None:
    assert recognise_bands(names, "scene") == load_sensor("sentinel2_l1c").bands


def test_other_spellings_of_sentinel2() -> None:
    told = recognise_bands(["B1", "B8a", "B12, central wavelength 2190 nm"], "scene")
    assert [band.name for band in told] == ["B01", "B8A", "B12"]


def test_the_sensor_with_fewest_further_bands_is_taken_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="rsmeta"):
        for name in ("a.tif", "b.tif"):
            recognise_bands(["B02", "B03", "B04"], f"some_new_folder/{name}")
    assert caplog.text.count("sentinel2_l2a") == 1  # once for the files of a folder


def test_common_names_alone_belong_to_no_sensor() -> None:
    told = recognise_bands([name.upper() for name in SIX], "scene")
    assert [(band.name, band.common_name, band.gsd_m) for band in told] == [
        (name, name, None) for name in SIX
    ]
    assert told[3].wavelength_nm == COMMON_NAMES["nir"]


@pytest.mark.parametrize(
    "names",
    [
        [None, None],
        ["B02", None],
        ["B02", "ndvi"],
        ["blue", "B03"],
        ["blue", "blue"],
        [],
    ],
)
def test_what_cannot_be_told_is_said(names: list[str | None]) -> None:
    with pytest.raises(BandsUnrecognisedError, match=r"data\.bands"):
        recognise_bands(names, "scene")


def test_names_that_mean_different_bands_are_not_guessed() -> None:
    with pytest.raises(BandsUnrecognisedError, match="landsat_oli"):
        recognise_bands(["B1", "B2", "B3", "B4", "B5", "B7"], "scene")


def test_match_goes_by_name_then_by_common_name() -> None:
    sentinel = load_sensor("sentinel2_l1c").bands
    wanted = recognise_bands(SIX, "model")
    assert match_bands(wanted, sentinel, "scene") == [1, 2, 3, 7, 11, 12]
    assert match_bands(sentinel[::-1], sentinel, "scene") == list(range(13))[::-1]
    assert match_bands([Band("VH")], load_sensor("sentinel1_grd").bands, "scene") == [1]


def test_equal_names_of_different_bands_do_not_match() -> None:
    red_and_nir = load_sensor("landsat_tm").select(["B3", "B4"]).bands
    with_nir = [Band("B4", "red"), Band("B5", "nir")]
    assert match_bands(red_and_nir, with_nir, "scene") == [0, 1]


def test_the_only_near_infrared_stands_in_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wanted = load_sensor("landsat_tm").select(["red", "nir"]).bands
    oli = load_sensor("landsat_oli").bands
    assert match_bands(wanted, oli, "scene") == [3, 4]
    assert "B5 (nir08)" in caplog.text
    both = load_sensor("sentinel2_l2a").select(["nir", "nir08"]).bands
    with pytest.raises(BandsMissingError):
        match_bands(both, oli, "scene")


def test_missing_bands_are_listed_with_what_is_there() -> None:
    wanted = load_sensor("sentinel2_l2a").select(["B02", "B05", "B11"]).bands
    with pytest.raises(BandsMissingError, match=r"B05 \(rededge071\), B11 \(swir16\); it has blue"):
        match_bands(wanted, recognise_bands(["blue", "green"], "x"), "scene.tif")


def test_a_common_name_that_two_bands_share_decides_nothing() -> None:
    two = [Band("low", "lwir"), Band("high", "lwir")]
    with pytest.raises(BandsMissingError):
        match_bands([Band("T", "lwir")], two, "scene")
    assert match_bands([Band("high", "lwir")], two, "scene") == [1]
