"""A model of whole images maps scenes cell by cell, and labels files of images."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch

from rsmeta.bundle import load_bundle
from rsmeta.geo.patches import PatchPlan
from rsmeta.geo.scene import open_scene
from tests.integration.image_data import BANDS, COLOURS, COUNTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta


@pytest.fixture
def scene(make_scene: MakeScene, tmp_path: Path) -> Path:
    """Fields of 32 pixels: forest but for one column of crop; no data in a corner."""
    rng = np.random.default_rng(1)
    image = rng.normal(np.array(COLOURS["forest"])[:, None, None], 40, (3, 100, 150))
    image[:, :, 32:64] = rng.normal(np.array(COLOURS["crop"])[:, None, None], 40, (3, 100, 32))
    image[:, :40, 96:] = 0
    return make_scene(tmp_path / "scene.tif", image.clip(0).astype(np.uint16), descriptions=BANDS,
                      nodata=0)  # fmt: skip


def test_a_map_has_one_value_per_cell(
    image_run: Path, rsmeta: Rsmeta, scene: Path, tmp_path: Path
) -> None:
    ended = rsmeta("--quiet", "predict", scene, "--model", image_run / "run/bundle", "--output",
                   tmp_path / "map.tif", "--confidence", tmp_path / "sure.tif",
                   "--quicklook", tmp_path / "map.png")  # fmt: skip
    assert ended.status == 0, ended.err
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "map.tif") as made:
        t, own = source.transform, made.transform
        assert (own.a, own.e, own.c, own.f) == (32 * t.a, 32 * t.e, t.c, t.f)
        assert (made.crs, made.shape) == (source.crs, (4, 5))
        classes = made.read(1)
        assert made.nodata == 255
    crop, forest = list(COUNTS).index("crop"), list(COUNTS).index("forest")
    assert (classes[:3, 1] == crop).all()
    assert (classes[:3, 0] == forest).all()
    assert classes[0, 3] == 255
    assert classes[1, 3] != 255  # part of it has data
    network = load_bundle(image_run / "run/bundle").network
    opened = open_scene(scene).select(network.backbone.bands)
    plan = PatchPlan(
        scene_grid=opened.grid, extent=opened.grid.full_window, tile_px=32, stride_px=32,
        block_px=64,
    )  # fmt: skip
    chip = opened.read(plan.tile(1, 1))
    with torch.inference_mode():
        scores = network(torch.from_numpy(chip.data)[None], torch.from_numpy(chip.valid)[None])
    with rasterio.open(tmp_path / "sure.tif") as sure:
        assert sure.read(1)[1, 1] == pytest.approx(float(scores.softmax(1).max()), abs=1e-5)


@pytest.mark.parametrize("stride_px", [8, 20, 50])
def test_cells_do_not_depend_on_blocks_and_batches(
    image_run: Path, rsmeta: Rsmeta, scene: Path, tmp_path: Path, stride_px: int
) -> None:
    found = []
    for name, block_px, batch in (("a", 1000, 64), ("b", 30, 3)):
        ended = rsmeta("--quiet", "predict", scene, "--model", image_run / "run/bundle",
                       "--output", tmp_path / f"{name}.tif", "--set", f"stride_px={stride_px}",
                       "--probabilities", tmp_path / f"{name}_p.tif",
                       "--set", f"block_px={block_px}", "--set", f"batch_size={batch}")  # fmt: skip
        assert ended.status == 0, ended.err
        with rasterio.open(tmp_path / f"{name}_p.tif") as shares:
            found.append(shares.read())
    assert found[0].shape[1:] == (-(-100 // stride_px), -(-150 // stride_px))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_a_part_of_a_scene_has_cells_of_its_own(
    image_run: Path, rsmeta: Rsmeta, scene: Path, tmp_path: Path
) -> None:
    grid = open_scene(scene).grid
    west, south, east, north = grid.bounds_lonlat() or (0, 0, 0, 0)
    bounds = ((west + east) / 2, south, east, north)
    ended = rsmeta("--quiet", "predict", scene, "--model", image_run / "run/bundle", "--output",
                   tmp_path / "map.tif", "--bounds", *bounds)  # fmt: skip
    assert ended.status == 0, ended.err
    with rasterio.open(tmp_path / "map.tif") as made:
        assert made.transform.a == 320
        assert (made.transform.c - grid.bounds[0]) % 10 == 0  # on the scene's pixels
        assert made.shape == (4, 3)


@pytest.mark.parametrize("block_px", [1000, 30])
def test_a_mask_takes_the_cells_with_a_pixel_inside_and_changes_none(
    image_run: Path, rsmeta: Rsmeta, scene: Path, tmp_path: Path, block_px: int
) -> None:
    # pixels 40 to 70 across and 10 to 20 down, and one pixel of the last cell
    boxes = [shapely.box(500_400, 5_149_800, 500_700, 5_149_900),
             shapely.box(501_490, 5_149_000, 501_500, 5_149_010)]  # fmt: skip
    geopandas.GeoDataFrame(geometry=boxes, crs="EPSG:32633").to_file(tmp_path / "aoi.gpkg")
    words = ("--quiet", "predict", scene, "--model", image_run / "run/bundle")
    assert rsmeta(*words, "--output", tmp_path / "all.tif").status == 0
    ended = rsmeta(*words, "--output", tmp_path / "map.tif", "--aoi", tmp_path / "aoi.gpkg",
                   "--summary", tmp_path / "s.json", "--set", f"block_px={block_px}")  # fmt: skip
    assert ended.status == 0, ended.err
    with rasterio.open(tmp_path / "all.tif") as whole, rasterio.open(tmp_path / "map.tif") as made:
        before, after = whole.read(1), made.read(1)
        assert made.transform == whole.transform
    inside = np.zeros((4, 5), dtype=bool)
    inside[0, 1:3] = inside[3, 4] = True
    assert ((after != 255) == inside).all()
    assert (after[inside] == before[inside]).all()
    tiles = json.loads((tmp_path / "s.json").read_text())["scenes"][0]["tiles"]
    assert tiles == {"computed": 3, "skipped": 17}


def test_images_are_labelled_in_a_table_with_footprints(
    image_run: Path, rsmeta: Rsmeta, tmp_path: Path
) -> None:
    words = ("--model", image_run / "run/bundle", "--output", tmp_path / "labels.csv")
    ended = rsmeta("--quiet", "predict", image_run / "data/test", *words)
    assert ended.status == 0, ended.err
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    metrics = json.loads((image_run / "run/metrics.json").read_text())
    hits = sum(f"/{row['class']}/" in row["image"] for row in rows)
    assert hits / 24 == pytest.approx(metrics["test"]["accuracy"])
    assert float(rows[0]["probability"]) == pytest.approx(
        max(float(rows[0][f"p_{name}"]) for name in COUNTS)
    )
    collection = json.loads((tmp_path / "labels.geojson").read_text())
    assert len(collection["features"]) == 24
    ring = np.array(collection["features"][0]["geometry"]["coordinates"][0])
    assert ring.shape == (5, 2)
    assert (ring[0] == ring[-1]).all()
    turn = ((ring[1:, 0] - ring[:-1, 0]) * (ring[1:, 1] + ring[:-1, 1])).sum()
    assert turn < 0  # anticlockwise
    assert 14.9 < ring[:, 0].mean() < 15.2
    again = rsmeta("predict", image_run / "data/test", *words)
    assert again.status == 1
    assert "labels.csv" in again.complaint


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "augment=five_crop"), "labels.csv: 24 images"),
        (("--set", "augment=random", "--set", "batch_size=5"), "labels.csv: 24 images"),
    ],
)
def test_ensembles_of_views(
    image_run: Path, rsmeta: Rsmeta, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    ended = rsmeta("--quiet", "predict", image_run / "data/test", "--model",
                   image_run / "run/bundle", *words, "--output",
                   tmp_path / "labels.csv")  # fmt: skip
    assert ended.status == 0, ended.err
    assert says in ended.out


@pytest.mark.parametrize("words", [("--aoi", "aoi.gpkg"), ("--sieve", 4), ("--vector", "x.gpkg")])
def test_what_goes_with_maps_does_not_go_with_tables(
    rsmeta: Rsmeta, image_run: Path, tmp_path: Path, words: tuple[object, ...]
) -> None:
    ended = rsmeta("predict", image_run / "data/test", "--model", image_run / "run/bundle",
                   "--output", tmp_path / "labels.csv", *words)  # fmt: skip
    assert ended.status == 2
    assert f"{words[0]} applies to maps" in ended.err


def test_what_does_not_fit(
    image_run: Path, tiny_run: object, rsmeta: Rsmeta, scene: Path, tmp_path: Path
) -> None:
    pixels = tiny_run.bundle  # type: ignore[attr-defined]
    for words, says in (
        ((scene, "--model", pixels, "--output", tmp_path / "a.csv"), "--output MAP.tif"),
        ((scene, "--model", pixels, "--output", tmp_path / "a.tif", "--set", "stride_px=4"),
         "models of whole images"),
        ((tmp_path / "empty", "--model", image_run / "run/bundle", "--output",
          tmp_path / "a.csv"), "no scene at"),
    ):  # fmt: skip
        ended = rsmeta("predict", *words)
        assert ended.status == 1
        assert says in ended.complaint
