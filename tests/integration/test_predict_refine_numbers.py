"""``rsmeta predict`` of numbers with --aoi, --mosaic, --crs and --like."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.windows import Window

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, RunToEnd


@pytest.fixture(scope="module")
def plain(biomass: Path, tmp_path_factory: pytest.TempPathFactory, run_to_end: RunToEnd) -> Path:
    """The map of the western scene as the model made it."""
    path = tmp_path_factory.mktemp("plain") / "map.tif"
    run_to_end("predict", biomass / "data/west.tif", "--model", biomass / "run/bundle",
               "--output", path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def overlapping(
    biomass: Path, tmp_path_factory: pytest.TempPathFactory, run_to_end: RunToEnd
) -> Path:
    """Two scenes that share 40 columns, the first with a hole in them; and the map of each."""
    folder = tmp_path_factory.mktemp("overlapping")
    with rasterio.open(biomass / "data/west.tif") as file:
        for name, left in (("one", 0), ("two", 28)):
            window = Window(left, 0, 68, 96)
            place = {"width": 68, "transform": file.window_transform(window)}
            pixels = file.read(window=window)
            if name == "one":
                pixels[:, 40:50, 50:60] = 0
            with rasterio.open(folder / f"{name}.tif", "w", **file.profile | place) as cut:
                cut.write(pixels)
                cut.descriptions = file.descriptions
    for name in ("one", "two"):
        run_to_end("predict", folder / f"{name}.tif", "--model", biomass / "run/bundle",
                   "--output", folder / f"{name}_map.tif")  # fmt: skip
    return folder


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read(1)
    return values


def predict(rsmeta: Rsmeta, biomass: Path, output: Path, *words: object, scenes: Any = None) -> Any:
    scenes = [biomass / "data/west.tif"] if scenes is None else scenes
    ended = rsmeta(
        "predict", *scenes, "--model", biomass / "run/bundle", "--output", output, *words
    )
    assert ended.status == 0, ended.err
    assert not [p for p in output.parent.iterdir() if p.name.startswith(".")]
    return ended


def test_a_mask_changes_no_number_inside(
    rsmeta: Rsmeta, biomass: Path, plain: Path, tmp_path: Path
) -> None:
    box = shapely.box(500_205, 5_149_305, 500_655, 5_149_805)
    frame = geopandas.GeoDataFrame(geometry=[box], crs="EPSG:32633")
    frame.to_crs("EPSG:4326").to_file(tmp_path / "aoi.gpkg")
    predict(rsmeta, biomass, tmp_path / "map.tif", "--aoi", tmp_path / "aoi.gpkg",
            "--summary", tmp_path / "s.json")  # fmt: skip
    before, after = read(plain), read(tmp_path / "map.tif")
    known = np.isfinite(after)
    assert known.sum() == 45 * 50
    assert np.abs(before - after)[known].max() < 1e-3
    told = json.loads((tmp_path / "s.json").read_text())["scenes"][0]["quantity"]
    assert told["pixels"] == 45 * 50
    assert told["mean"] == pytest.approx(np.nanmean(after), rel=1e-5)


@pytest.mark.parametrize("rule", ["first", "mean"])
def test_overlapping_scenes_make_one_map(
    rsmeta: Rsmeta, biomass: Path, overlapping: Path, tmp_path: Path, rule: str
) -> None:
    scenes = [overlapping / "one.tif", overlapping / "two.tif"]
    ended = predict(rsmeta, biomass, tmp_path / "map.tif", "--mosaic", rule, "--summary",
                    tmp_path / "s.json", scenes=scenes)  # fmt: skip
    first, second = np.full((2, 96, 96), np.nan)
    first[:, :68], second[:, 28:] = (read(overlapping / f"{n}_map.tif") for n in ("one", "two"))
    expected = np.where(np.isfinite(first), first, second)
    if rule == "mean":
        both = np.isfinite(first) & np.isfinite(second)
        expected[both] = ((first + second) / 2)[both]
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.transform == Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_150_000.0)
        assert (file.units, file.descriptions) == (("t/ha",), ("biomass",))
        after = file.read(1)
        assert file.tags()["RSMETA_REFINED"].startswith(f"mosaic by {rule}")
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    assert np.isfinite(after[40:50, 50:60]).all()  # the hole of the first is filled
    told = json.loads((tmp_path / "s.json").read_text())["scenes"][0]["quantity"]
    assert told["mean"] == pytest.approx(np.nanmean(after), rel=1e-5)
    assert f"mean {told['mean']:.4g}" in ended.out


def test_a_coarser_grid_gets_means_and_a_shifted_one_what_lies_between(
    rsmeta: Rsmeta, biomass: Path, plain: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    before = read(plain)
    coarse = Affine(30.0, 0.0, 500_000.0, 0.0, -30.0, 5_150_000.0)
    make_scene(tmp_path / "coarse.tif", np.zeros((32, 32), np.uint8), transform=coarse)
    predict(rsmeta, biomass, tmp_path / "means.tif", "--like", tmp_path / "coarse.tif")
    blocks = before.reshape(32, 3, 32, 3)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(blocks).sum(axis=(1, 3))
        means = np.nansum(blocks, axis=(1, 3)) / np.where(known > 0, known, np.nan)
    np.testing.assert_allclose(read(tmp_path / "means.tif"), means, rtol=1e-5)
    shifted = Affine(10.0, 0.0, 500_105.0, 0.0, -10.0, 5_149_900.0)
    make_scene(tmp_path / "shifted.tif", np.zeros((40, 50), np.uint8), transform=shifted)
    predict(rsmeta, biomass, tmp_path / "between.tif", "--like", tmp_path / "shifted.tif")
    between = (before[10:50, 10:60] + before[10:50, 11:61]) / 2
    np.testing.assert_allclose(read(tmp_path / "between.tif"), between, rtol=1e-4)


def test_another_crs_keeps_what_is_known_and_does_not_know_blocks(
    rsmeta: Rsmeta, biomass: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    predict(rsmeta, biomass, tmp_path / "a.tif", "--crs", "EPSG:3035")
    from rsmeta.workflows.mapping import postprocessed

    monkeypatch.setattr(postprocessed, "STEP_PX", 32)
    predict(rsmeta, biomass, tmp_path / "b.tif", "--crs", "EPSG:3035", "--set", "block_px=32")
    one, other = read(tmp_path / "a.tif"), read(tmp_path / "b.tif")
    assert (np.isfinite(one) == np.isfinite(other)).all()
    assert np.nanmax(np.abs(one - other)) < 1e-2
    before = read(plain)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs.to_epsg() == 3035
        pixel = abs(file.transform.determinant)
    # as much ground as before, and numbers as before
    assert np.isfinite(one).sum() * pixel == pytest.approx(
        np.isfinite(before).sum() * 100, rel=0.01
    )
    assert np.nanmean(one) == pytest.approx(np.nanmean(before), rel=0.01)
    assert np.nanmin(before) - 1e-3 <= np.nanmin(one)
    assert np.nanmax(one) <= np.nanmax(before) + 1e-3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--majority", 3), "--majority: tidies classes, and the model maps biomass, a number"),
        (("--sieve", 5), "--sieve: tidies classes, and the model maps biomass, a number"),
        (("--mosaic", "confidence"), "use --mosaic first or --mosaic mean"),
    ],
)
def test_what_cannot_be_made_of_numbers(
    rsmeta: Rsmeta, biomass: Path, tmp_path: Path, words: tuple[object, ...], told: str
) -> None:
    ended = rsmeta("predict", biomass / "data/west.tif", "--model", biomass / "run/bundle",
                   "--output", tmp_path / "m.tif", *words)  # fmt: skip
    assert ended.status == 1
    assert told in ended.complaint
    assert list(tmp_path.iterdir()) == []
