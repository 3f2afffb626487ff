"""Radar as it comes: polarisations in any wording, decibels told from linear values."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsmeta.data.unscaled import say_radar_units
from rsmeta.errors import BandsUnrecognisedError
from rsmeta.geo.bands import Band, generic_band
from rsmeta.geo.radar import is_radar, polarisation_name, radar_unit
from rsmeta.geo.scene import open_scene
from rsmeta.geo.sensors import load_sensor
from rsmeta.models.stem import embedding_size, fit_stem
from rsmeta.workflows.inspect import inspect

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("VV", "VV"), ("vh", "VH"), ("Sigma0_VV_db", "VV"), ("gamma0 VH", "VH"),
        ("Gamma0_HH_linear", "HH"), ("S1_HV", "HV"), ("VV/VH", "VV/VH"), ("ratio_VH_VV", "VH/VV"),
        ("VV_VV", None), ("incidence angle", None), ("savvy", None), ("", None),
    ],
)  # fmt: skip
def test_polarisations_in_any_wording(text: str, name: str | None) -> None:
    assert polarisation_name(text) == name


@pytest.mark.parametrize(
    ("descriptions", "names", "sensor"),
    [
        (("Sigma0_VH_db", "Sigma0_VV_db"), ["VH", "VV"], "sentinel1_grd"),
        (("HH", "HV"), ["HH", "HV"], None),
        (("vv", "vh", "VV/VH"), ["VV", "VH", "VV/VH"], None),
    ],
)
def test_scenes_of_radar(
    make_scene: Any, tmp_path: Path, descriptions: Any, names: list[str], sensor: str | None
) -> None:
    values = np.full((len(names), 8, 8), -12.0, np.float32)
    scene = open_scene(make_scene(tmp_path / "s.tif", values, descriptions=descriptions))
    assert [band.name for band in scene.bands] == names
    assert scene.sensor == sensor
    assert all(map(is_radar, scene.bands))


def test_angles_are_ignored_where_a_model_needs_polarisations(
    make_scene: Any, tmp_path: Path
) -> None:
    path = make_scene(tmp_path / "s.tif", np.ones((3, 8, 8), np.float32),
                      descriptions=("Sigma0_VV", "incidence angle", "Sigma0_VH"))  # fmt: skip
    with pytest.raises(BandsUnrecognisedError):
        open_scene(path)
    wanted = load_sensor("sentinel1_grd").bands
    assert open_scene(path, wanted=wanted).select(wanted).band_indexes == (1, 3)


@given(st.floats(-40, 10), st.floats(0, 3))
def test_decibels_are_told_from_linear_values(mean_db: float, spread_db: float) -> None:
    decibels = mean_db + spread_db * np.random.default_rng(0).normal(size=500)
    linear = 10 ** (decibels / 10)
    if decibels.mean() < 0:
        assert radar_unit(float(decibels.mean())) == "decibels"
    if linear.mean() <= 10:
        assert radar_unit(float(linear.mean())) == "linear backscatter"
    assert radar_unit(250.0) == "digital numbers"


def test_what_bands_are_in_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    radar = [*load_sensor("sentinel1_grd").bands, Band("VV/VH"), generic_band("red")]
    say_radar_units(radar, np.array([-11.0, -18.0, 0.6, 0.1]))
    assert caplog.messages == [
        "radar, by its mean: VV, VH: decibels; scenes to map must be the same"
    ]
    caplog.clear()
    say_radar_units(radar, np.array([-11.0, 0.02, 0.6, 0.1]))
    assert "VV: decibels; VH: linear backscatter" in caplog.messages[0]
    assert caplog.records[0].levelno == logging.WARNING
    caplog.clear()
    say_radar_units([generic_band("red")], np.array([0.1]))
    assert not caplog.messages


def test_inspect_says_it(make_scene: Any, tmp_path: Path) -> None:
    path = make_scene(tmp_path / "s.tif", np.full((2, 8, 8), -9.0, np.float32),
                      descriptions=("VV", "VH"))  # fmt: skip
    assert inspect(path)["radar"] == {"VV": "decibels", "VH": "decibels"}


def test_filters_go_from_colour_to_one_band_and_back() -> None:
    rgb, one = load_sensor("rgb").bands, load_sensor("sar").bands
    weight = torch.randn(8, 3, 4, 4)
    single, report = fit_stem(weight, rgb, one)
    torch.testing.assert_close(single / report.filters[0].factor, weight.mean(1, keepdim=True))
    assert report.filters[0].source == "mean of all"
    back, _ = fit_stem(single, one, rgb)
    assert back.shape == weight.shape
    for made in (single, back):
        assert embedding_size(made) == pytest.approx(embedding_size(weight), rel=1e-4)
