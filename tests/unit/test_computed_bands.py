"""Ratios, differences and indices of bands: computed as scenes are read, and stored with models."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

import rsmeta
from rsmeta.errors import BandsMissingError
from rsmeta.geo.bands import Band
from rsmeta.geo.computed import INDICES, named_band
from rsmeta.geo.scene import ReadRules, open_scene

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIDE = 48


def _write(path: Path, bands: Mapping[str, np.ndarray], nodata: float | None = None) -> Path:
    data = np.stack([*bands.values()])
    with rasterio.open(
        path, "w", driver="GTiff", count=len(data), height=data.shape[1], width=data.shape[2],
        dtype=data.dtype, nodata=nodata, crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as file:  # fmt: skip
        file.write(data)
        file.descriptions = tuple(bands)
    return path


def _powers(seed: int = 0) -> dict[str, np.ndarray]:
    """Return linear backscatter: VV over two halves of the scene alike, VH four times as strong."""
    rng = np.random.default_rng(seed)
    vv = rng.gamma(4, 0.05, (SIDE, SIDE)) + 0.01
    vh = vv / np.where(np.arange(SIDE) < SIDE // 2, 8.0, 2.0)
    return {"VV": vv.astype("f4"), "VH": vh.astype("f4")}


def _read(path: Path, *names: str, **rules: Any) -> np.ndarray:
    scene = open_scene(path, ReadRules(**rules))
    chosen = scene.select([named_band(name, scene.bands) for name in names])
    return chosen.read(scene.grid.full_window).data


@pytest.mark.parametrize("index", INDICES)
def test_indices_are_those_of_their_bands(tmp_path: Path, index: str) -> None:
    rng = np.random.default_rng(1)
    names = sorted({name for pair in INDICES.values() for name in pair})
    bands = {name: rng.integers(0, 9000, (9, 7)).astype("u2") for name in names}
    first, second = (bands[name].astype("f8") for name in INDICES[index])
    first[0, 0] = second[0, 0] = 0
    for name in INDICES[index]:
        bands[name][0, 0] = 0
    path = _write(tmp_path / "scene.tif", bands)
    total = np.maximum(first + second, 1e-9)
    for name in (index, "({}-{})/({}+{})".format(*INDICES[index] * 2)):
        (found,) = _read(path, name, scale=1e-4)
        np.testing.assert_allclose(found, (first - second) / total, atol=2e-6)


def test_a_ratio_is_a_quotient_and_zero_over_zero(tmp_path: Path) -> None:
    bands = {"a": np.array([[6.0, 1.0]], "f4"), "b": np.array([[3.0, 0.0]], "f4")}
    path = _write(tmp_path / "scene.tif", bands)
    rules = {"bands": ("a", "b")}
    np.testing.assert_array_equal(_read(path, "a/b", **rules)[0], [[2.0, 0.0]])
    np.testing.assert_array_equal(_read(path, "a - b", **rules)[0], [[3.0, 1.0]])
    np.testing.assert_array_equal(_read(path, "b", "a/b", "a", **rules)[:, 0, 0], [3, 2, 6])


@pytest.mark.parametrize("valid_if", ["all", "any"])
def test_where_an_input_has_no_data_there_is_none(tmp_path: Path, valid_if: Any) -> None:
    bands = {"a": np.array([[6.0, -1.0]], "f4"), "b": np.array([[3.0, 2.0]], "f4")}
    path = _write(tmp_path / "scene.tif", bands, nodata=-1)
    scene = open_scene(path, ReadRules(bands=("a", "b"), valid_if=valid_if))
    ratio, both = named_band("a/b", scene.bands), [Band("b"), named_band("a/b", scene.bands)]
    alone = scene.select([ratio]).read(Window(0, 0, 2, 1))
    assert alone.valid.tolist() == [[True, False]]
    assert alone.data.tolist() == [[[2.0, 0.0]]]
    chip = scene.select(both).read(Window(0, 0, 2, 1))
    assert chip.valid.tolist() == [[True, valid_if == "any"]]
    assert chip.data[1].tolist() == [[2.0, 0.0]]


def test_choosing_again_keeps_what_was_computed(tmp_path: Path) -> None:
    path = _write(tmp_path / "scene.tif", _powers())
    scene = open_scene(path)
    once = scene.select([named_band(n, scene.bands) for n in ("VH", "VV/VH", "VV")])
    twice = once.select([*once.bands[1:], once.bands[0]])
    whole = scene.grid.full_window
    np.testing.assert_array_equal(twice.read(whole).data, once.read(whole).data[[1, 2, 0]])
    only = once.select([Band("VV/VH")])
    np.testing.assert_array_equal(only.read(whole).data, once.read(whole).data[1:2])


def test_what_the_file_calls_so_comes_first(tmp_path: Path) -> None:
    bands = {**_powers(), "VV/VH": np.full((SIDE, SIDE), 7, "f4")}
    path = _write(tmp_path / "scene.tif", bands)
    assert (_read(path, "VV/VH") == 7).all()


def test_a_model_finds_the_inputs_by_what_they_see(tmp_path: Path) -> None:
    """Sentinel-2's B04 is red; Landsat 8's B4 is, and its B8 is panchromatic."""
    rng = np.random.default_rng(2)
    two = {f"B{i:02}": rng.uniform(0, 1, (4, 4)).astype("f4") for i in (2, 3, 4, 8)}
    eight = {name: rng.uniform(0, 1, (4, 4)).astype("f4") for name in ("B2", "B4", "B5", "B8")}
    first = open_scene(_write(tmp_path / "two.tif", two))
    chosen = first.select([named_band(n, first.bands) for n in ("ndvi", "B08/B04")])
    other = open_scene(
        _write(tmp_path / "eight.tif", eight), ReadRules(sensor="landsat_oli"), wanted=chosen.bands
    )
    found = other.select(chosen.bands).read(other.grid.full_window).data
    nir, red = eight["B5"], eight["B4"]
    np.testing.assert_allclose(found, [(nir - red) / (nir + red), nir / red], rtol=1e-5)


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    scene = open_scene(_write(tmp_path / "scene.tif", _powers()))
    with pytest.raises(BandsMissingError, match="lacks the bands nir, red; it has VV, VH"):
        scene.select([named_band("ndvi", scene.bands)])
    with pytest.raises(BandsMissingError, match="lacks the band VV/HH"):
        scene.select([named_band("VV/HH", scene.bands)])


@pytest.mark.parametrize("unit", ["linear", "decibels"])
def test_radar_s_ratio_follows_the_unit_from_training_to_map(
    tmp_path: Path, unit: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the ratio tells the halves apart; a model of it maps both as they are."""
    caplog.set_level(logging.INFO)
    for seed, name in enumerate(("train", "map")):
        powers = _powers(seed)
        data = powers if unit == "linear" else {k: 10 * np.log10(v) for k, v in powers.items()}
        _write(tmp_path / f"{name}.tif", data)
    halves = np.where(np.arange(SIDE) < SIDE // 2, 1, 2).astype("u1")
    _write(tmp_path / "labels.tif", {"label": np.tile(halves, (SIDE, 1))})
    config = {
        "data": {"scenes": [str(tmp_path / "train.tif")], "labels": str(tmp_path / "labels.tif"),
                 "classes": {1: "east", 2: "west"}, "use_bands": ["VV", "VV/VH"],
                 "split": {"block_px": 8}},
        "model": {"backbone": "pixels", "head": "logistic"},
    }  # fmt: skip
    rsmeta.train(config, output=tmp_path / "run")
    rsmeta.predict(tmp_path / "map.tif", tmp_path / "run" / "bundle", output=tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as found:
        assert (found.read(1) == halves).mean() > 0.99
    record = rsmeta.load_bundle(tmp_path / "run" / "bundle").record
    (ratio,) = [band for band in record.bands if band.formula]
    assert ratio.formula is not None
    assert ratio.formula.kind == {"linear": "ratio", "decibels": "difference"}[unit]
    said = "VV/VH is VV - VH, as the scene is in decibels"
    assert (said in caplog.text) == (unit == "decibels")
