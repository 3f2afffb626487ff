"""Speckle of radar: filtered as scenes are read, the same in every window, in training and maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.windows import Window

import rsmeta
from rsmeta.config import load_settings
from rsmeta.config.radar import SpeckleSettings
from rsmeta.errors import ConfigError
from rsmeta.geo.computed import named_band
from rsmeta.geo.scene import ReadRules, Scene, open_scene
from tests.unit.test_computed_bands import _write

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH = 40, 56


def _field(seed: int = 0) -> dict[str, np.ndarray]:
    """Return powers: two even halves, four times apart in VV, under speckle of 4.4 looks."""
    rng = np.random.default_rng(seed)
    ground = np.where(np.arange(WIDTH) < WIDTH // 2, 0.05, 0.2) * np.ones((HEIGHT, 1))
    powers = {"VV": ground, "VH": np.full_like(ground, 0.02)}
    return {k: (v * rng.gamma(4.4, 1 / 4.4, v.shape)).astype("f4") for k, v in powers.items()}


def _scene(path: Path, unit: str = "decibels", nodata: float | None = None, **how: Any) -> Scene:
    powers = _field()
    data = powers if unit == "linear" else {k: 10 * np.log10(v) for k, v in powers.items()}
    if nodata is not None:
        data["VV"][5:9, 20:30] = nodata
    _write(path, data, nodata=nodata)
    return open_scene(path, ReadRules(speckle=SpeckleSettings(unit=unit, **how) if how else None))


def _whole(scene: Scene) -> np.ndarray:
    return scene.read(scene.grid.full_window).data


@pytest.mark.parametrize("unit", ["decibels", "linear"])
@pytest.mark.parametrize("nodata", [None, -99.0])
def test_boxcar_is_the_mean_power_of_the_pixels_that_there_are(
    tmp_path: Path, unit: str, nodata: float | None
) -> None:
    scene = _scene(tmp_path / "a.tif", unit, nodata, filter="boxcar", side_px=5)
    chip = scene.read(scene.grid.full_window)
    power = _field()["VV"].astype("f8")
    known = np.ones(power.shape, bool)
    known[5:9, 20:30] = nodata is None
    assert np.array_equal(chip.valid, known)
    for row, col in ((0, 0), (7, 31), (20, 27), (39, 55), (4, 19)):
        square = np.s_[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3]
        mean = power[square][known[square]].mean()
        wanted = mean if unit == "linear" else 10 * np.log10(mean)
        assert chip.data[0, row, col] == pytest.approx(wanted, rel=1e-5)
    assert (chip.data[0, ~known] == 0).all()


def test_lee_smooths_even_ground_and_keeps_edges(tmp_path: Path) -> None:
    raw, lee, box = (
        10 ** (_whole(_scene(tmp_path / f"{name}.tif", **how))[0] / 10)
        for name, how in (("a", {}), ("b", {"filter": "lee"}), ("c", {"filter": "boxcar"}))
    )
    even = np.s_[5:-5, 5:20]
    assert lee[even].std() < 0.5 * raw[even].std()
    assert lee[even].mean() == pytest.approx(raw[even].mean(), rel=0.1)
    # Just east of the edge a mean of squares is far too low.
    beside = np.s_[:, WIDTH // 2]
    assert abs(lee[beside].mean() - 0.2) < abs(box[beside].mean() - 0.2)


@pytest.mark.parametrize("names", [("VV", "VH"), ("VV/VH", "VH")])
@pytest.mark.parametrize("side_px", [3, 7, 63])
def test_windows_are_parts_of_the_whole(
    tmp_path: Path, names: tuple[str, ...], side_px: int
) -> None:
    scene = _scene(tmp_path / "a.tif", nodata=-99.0, side_px=side_px)
    scene = scene.select([named_band(name, scene.bands) for name in names])
    assert scene.halo_px == side_px // 2
    whole = scene.read(scene.grid.full_window)
    for window in (Window(0, 0, 9, 8), Window(17, 3, 11, 13), Window(WIDTH - 3, HEIGHT - 2, 9, 9)):
        chip = scene.read(window)
        rows = slice(window.row_off, min(window.row_off + window.height, HEIGHT))
        cols = slice(window.col_off, min(window.col_off + window.width, WIDTH))
        height, width = rows.stop - rows.start, cols.stop - cols.start
        inside = chip.data[:, :height, :width]
        np.testing.assert_allclose(inside, whole.data[:, rows, cols], rtol=1e-6, atol=1e-6)
        assert np.array_equal(chip.valid[:height, :width], whole.valid[rows, cols])
        assert not chip.valid[height:].any()


def test_a_ratio_is_that_of_filtered_powers(tmp_path: Path) -> None:
    scene = _scene(tmp_path / "a.tif", "linear", filter="boxcar", side_px=3)
    vv, vh = _whole(scene)
    ratio = _whole(scene.select([named_band("VV/VH", scene.bands)]))[0]
    np.testing.assert_allclose(ratio, vv / vh, rtol=1e-5)


def test_optical_bands_stay_as_they_are(tmp_path: Path) -> None:
    red = np.random.default_rng(0).uniform(0, 1, (6, 6)).astype("f4")
    path = _write(tmp_path / "a.tif", {"VV": red, "red": red, "VH": red})
    rules = ReadRules(bands=("VV", "red", "VH"), speckle=SpeckleSettings(unit="linear"))
    found = _whole(open_scene(path, rules))
    np.testing.assert_array_equal(found[1], red)
    assert (found[0] != red).any()


def _config(folder: Path, **data: Any) -> dict[str, Any]:
    halves = np.where(np.arange(WIDTH) < WIDTH // 2, 1, 2).astype("u1")
    _write(folder / "labels.tif", {"label": np.tile(halves, (HEIGHT, 1))})
    return {
        "data": {"scenes": [str(folder / "a.tif")], "labels": str(folder / "labels.tif"),
                 "classes": {1: "dark", 2: "bright"}, "split": {"block_px": 8}, **data},
        "model": {"backbone": "pixels", "head": "logistic"}, "trainer": {"baseline": False},
    }  # fmt: skip


def test_training_and_map_filter_alike_whatever_the_blocks(tmp_path: Path) -> None:
    vv, vh = _whole(_scene(tmp_path / "a.tif"))
    run = tmp_path / "run"
    rsmeta.train(_config(tmp_path, speckle="lee"), output=run)
    # The filter is the model's: scores do not depend on whether the configuration names it.
    scores = [
        rsmeta.evaluate(run / "bundle", _config(tmp_path, **given), split="validation").as_dict()
        for given in ({"speckle": "lee"}, {})
    ]
    assert scores[0] == scores[1]
    maps = []
    for block in (16, 64):
        out = tmp_path / f"{block}.tif"
        rsmeta.predict(
            tmp_path / "a.tif", run / "bundle", output=out, settings=[f"block_px={block}"]
        )
        with rasterio.open(out) as file:
            maps.append(file.read(1))
    array = xr.DataArray(
        np.stack([vv, vh]), dims=("band", "y", "x"), coords={"band": ["VV", "VH"]}
    ).chunk({"band": 2, "y": 16, "x": 16})  # fmt: skip
    maps.append(rsmeta.predict(array, run / "bundle").values)
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
    halves = np.where(np.arange(WIDTH) < WIDTH // 2, 1, 2)
    assert (maps[0] == halves).mean() > 0.98
    # No threshold of the unfiltered values comes near.
    assert max((np.where(vv < at, 1, 2) == halves).mean() for at in np.arange(-16, -4, 0.5)) < 0.95


@pytest.mark.parametrize(
    ("unit", "given", "says"),
    [
        ("linear", "lee", "holds linear backscatter; set data.speckle.unit=linear"),
        ("decibels", {"unit": "linear"}, "holds decibels; set data.speckle.unit=decibels"),
        ("decibels", {"side_px": 6}, "6 is even"),
        ("decibels", "median", "lee"),
    ],
)
def test_another_unit_is_refused(tmp_path: Path, unit: str, given: Any, says: str) -> None:
    _scene(tmp_path / "a.tif", unit)
    with pytest.raises(ConfigError, match=says) as refused:
        rsmeta.train(_config(tmp_path, speckle=given), output=tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_without_radar_there_is_nothing_to_filter(tmp_path: Path) -> None:
    red = np.random.default_rng(0).uniform(0, 1, (HEIGHT, WIDTH)).astype("f4")
    _write(tmp_path / "a.tif", {"red": red, "nir": red})
    with pytest.raises(ConfigError, match="filters radar, and none of red, nir is"):
        rsmeta.train(_config(tmp_path, speckle="lee"), output=tmp_path / "run")


@pytest.mark.parametrize("more", [{"kind": "cifar"}, {"kind": "torchgeo", "dataset": "EuroSAT100"}])
def test_images_that_are_no_files_of_radar_refuse_it(tmp_path: Path, more: dict[str, Any]) -> None:
    data = {**more, "root": str(tmp_path), "speckle": "lee"}
    with pytest.raises(ConfigError, match="filters files of radar, and images"):
        load_settings({"task": "classification", "data": data})
