"""Bands of one sensor are made of another's by wavelength and width; names win."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from rsmeta.errors import BandsMissingError
from rsmeta.geo.bands import Band, generic_band
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.geo.sensors import load_sensor
from rsmeta.geo.spectral_match import mix_bands

if TYPE_CHECKING:
    from pathlib import Path

RGB = load_sensor("rgb").bands


def narrow(*centres_nm: float, width_nm: float | None = 10.0) -> list[Band]:
    return [Band(f"n{i}", None, nm, width_nm=width_nm) for i, nm in enumerate(centres_nm)]


def spectrum(step_nm: float, width_nm: float | None = None) -> list[Band]:
    return narrow(*np.arange(400.0, 2500.0, step_nm), width_nm=width_nm)


def value(mix: Any, bands: list[Band], of: Any) -> float:
    return sum(share * of(bands[i].wavelength_nm) for i, share in mix.shares.items())


@given(
    step=st.floats(4, 20),
    centre=st.floats(420, 2450),
    width=st.floats(3, 300),
    stated=st.booleans(),
)
def test_a_straight_spectrum_comes_out_straight(
    step: float, centre: float, width: float, stated: bool
) -> None:
    """Whatever the sampling, a band of a narrow-band scene reads the spectrum at its centre."""
    have = spectrum(step, step if stated else None)
    low, high = 400.0 + step, have[-1].wavelength_nm - step
    width = max(width, 0.6 * step)
    if not low < centre - width / 2 < centre + width / 2 < high:
        return
    (mix,) = mix_bands([Band("x", None, centre, width_nm=width)], have, "scene")
    assert sum(mix.shares.values()) == pytest.approx(1)
    found = value(mix, have, lambda nm: 3.0 + nm)
    assert found == pytest.approx(3.0 + centre, abs=step / 2)


def test_names_win_over_wavelengths() -> None:
    have = [Band("red", "red", 900.0, width_nm=10.0), *narrow(650, 660)]
    (mix,) = mix_bands([generic_band("red")], have, "scene")
    assert mix == ({0: 1.0}, "")


def test_equal_names_of_other_wavelengths_are_not_the_same_band() -> None:
    """ "band 1" of one camera is blue, of another red."""
    have = [Band("band 1", None, 650.0, width_nm=10.0), Band("band 2", None, 480.0, width_nm=10.0)]
    (mix,) = mix_bands([Band("band 1", None, 481.0, width_nm=10.0)], have, "scene")
    assert mix.shares == {1: 1.0}


def test_shares_are_the_common_widths(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    have = narrow(630, 640, 650, 660, 700)
    (mix,) = mix_bands([Band("red", None, 645.0, width_nm=20.0)], have, "s.tif")
    assert mix.shares == pytest.approx({1: 0.5, 2: 0.5})
    (mix,) = mix_bands([Band("red", None, 650.0, width_nm=20.0)], have, "s.tif")
    assert mix.shares == pytest.approx({1: 0.25, 2: 0.5, 3: 0.25})
    assert "s.tif: red is the mean of 3 bands, n1 (640 nm) to n3 (660 nm)" in caplog.text


def test_neighbours_are_interpolated() -> None:
    (mix,) = mix_bands([Band("x", None, 705.0, width_nm=10.0)], narrow(690, 720, 900), "scene")
    assert mix.shares == pytest.approx({0: 0.5, 1: 0.5})
    assert mix.how == "interpolated between n0 (690 nm) and n1 (720 nm)"


@pytest.mark.parametrize(
    ("wanted", "have", "reason"),
    [
        (narrow(655), [Band("R", None, 660.0, width_nm=60.0)], "R (660 nm) is 60 nm wide"),
        (narrow(1650), narrow(600, 610, 620), "the nearest band is n2 (620 nm)"),
        (narrow(705), narrow(600, 790), "the nearest band is n1 (790 nm)"),
        ([generic_band("yellow")], list(RGB), "is 90 nm wide"),
        ([generic_band("swir16")], list(RGB), "the nearest band is red (655 nm)"),
        (spectrum(10), list(RGB), "nm wide"),
        ([Band("heat", None, 10_900.0, width_nm=600.0)], narrow(655), ""),
        ([Band("VH", None, 5.5e7)], [Band("x", None, 5.5e7)], ""),
        ([Band("own name")], narrow(655), ""),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(wanted: Any, have: Any, reason: str) -> None:
    with pytest.raises(BandsMissingError, match="lacks the band") as caught:
        mix_bands(wanted, have, "scene.tif")
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize("name", ["sentinel2_l2a", "landsat_oli", "landsat_tm"])
def test_usual_sensors_out_of_two_hundred_bands(name: str) -> None:
    wanted = [b for b in load_sensor(name).bands if b.spectrum_part == "reflected"]
    have = spectrum(10.0)
    for band, mix in zip(wanted, mix_bands(wanted, have, "scene"), strict=True):
        assert value(mix, have, float) == pytest.approx(band.wavelength_nm, abs=4.0)


def cube(path: Path, make_scene: Any, **profile: Any) -> tuple[Path, np.ndarray]:
    """Write four bands at 640 to 670 nm, all different."""
    values = np.random.default_rng(3).integers(1, 200, (4, 20, 24)).astype(np.uint16)
    make_scene(path, values, **profile)
    with rasterio.open(path, "r+") as file:
        for i, nm in enumerate((640, 650, 660, 670), 1):
            file.update_tags(i, wavelength=nm, wavelength_units="nm", fwhm=10)
    return path, values


@pytest.mark.parametrize("valid_if", ["all", "any"])
def test_a_scene_reads_what_it_is_made_of(make_scene: Any, tmp_path: Path, valid_if: str) -> None:
    path, raw = cube(tmp_path / "s.tif", make_scene, nodata=0)
    raw[1, 2, 3] = 0
    with rasterio.open(path, "r+") as file:
        file.write(raw)
        file.scales, file.offsets = (0.01,) * 4, (1.0,) * 4
    scene = open_scene(path, ReadRules(valid_if=valid_if))  # type: ignore[arg-type]
    pair = [Band("a", None, 645.0, width_nm=20.0), Band("w0670")]
    chosen = scene.select(pair)
    chip = chosen.read(scene.grid.full_window)
    expected = np.stack([raw[:2].mean(axis=0), raw[3]]) * 0.01 + 1.0
    expected[0, 2, 3] = 0
    if valid_if == "any":
        np.testing.assert_allclose(chip.data, expected, rtol=1e-5)
        assert chip.valid.all()
    else:
        assert not chip.valid[2, 3]
        np.testing.assert_allclose(chip.data[:, chip.valid], expected[:, chip.valid], rtol=1e-5)
    assert [b.name for b in chosen.bands] == ["a", "w0670"]
    # Chosen again, mixed bands stay what they are.
    again = chosen.select(pair[::-1]).read(scene.grid.full_window)
    np.testing.assert_array_equal(again.data, chip.data[::-1])
