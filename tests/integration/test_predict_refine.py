"""``rsmeta predict`` with --aoi, --mosaic, --crs, --like, --majority and --sieve."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.warp import transform
from rasterio.windows import Window

from rsmeta.geo.lock import locked
from rsmeta.gis.postprocess.class_store import ClassStore
from rsmeta.gis.postprocess.majority import majority
from rsmeta.gis.postprocess.sieve import sieve
from rsmeta.workflows.mapping import postprocessed
from tests.stac_items import check_item

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Ended, Rsmeta, RunToEnd, TinyRun

NODATA = 255


@pytest.fixture(scope="module")
def plain(
    tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory, run_to_end: RunToEnd
) -> Path:
    """The map of the western scene, with its probabilities, as the model made it."""
    folder = tmp_path_factory.mktemp("plain")
    run_to_end(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", folder / "map.tif",
        "--probabilities", folder / "shares.tif",
    )  # fmt: skip
    return folder / "map.tif"


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read()
    return values[0] if len(values) == 1 else values


def predict(
    rsmeta: Rsmeta, run: TinyRun, output: Path, *words: object, scenes: Any = None
) -> Ended:
    scenes = [run.scene] if scenes is None else scenes
    ended = rsmeta("predict", *scenes, "--model", run.bundle, "--output", output, *words)
    assert ended.status == 0, ended.err
    assert not [p for p in output.parent.iterdir() if p.name.startswith(".")]
    return ended


def make_mask(path: Path, *shapes: shapely.Geometry) -> Path:
    frame = geopandas.GeoDataFrame(geometry=list(shapes), crs="EPSG:32633")
    frame.to_crs("EPSG:4326").to_file(path)
    return path


# -- mask ------------------------------------------------------------------------------------


def test_a_mask_changes_nothing_inside_and_saves_what_lies_outside(
    rsmeta: Rsmeta, tiny_run: TinyRun, plain: Path, tmp_path: Path
) -> None:
    ring = shapely.Point(500_700, 5_149_600).buffer(180) - shapely.Point(500_700, 5_149_600).buffer(
        60
    )
    mask = make_mask(
        tmp_path / "aoi.gpkg", ring, shapely.box(500_310, 5_149_880, 500_330, 5_149_900)
    )
    summary = tmp_path / "s.json"
    predict(rsmeta, tiny_run, tmp_path / "map.tif", "--mask", mask, "--summary", summary,
            "--probabilities", tmp_path / "shares.tif")  # fmt: skip
    rows, cols = np.mgrid[:96, :96] + 0.5
    centres = shapely.points(500_000 + 10 * cols, 5_150_000 - 10 * rows)
    inside = shapely.contains(ring, centres) | (
        (rows > 10) & (rows < 12) & (cols > 31) & (cols < 33)
    )
    before, after = read(plain), read(tmp_path / "map.tif")
    assert after.shape == before.shape
    valid = inside & (before != NODATA)
    # a corner of the circle may fall on either side when it comes back from degrees
    assert ((after != NODATA) != valid).sum() <= 2
    both = valid & (after != NODATA)
    assert (after[both] == before[both]).all()
    shares, masked = read(plain.with_name("shares.tif")), read(tmp_path / "shares.tif")
    assert np.abs(shares - masked)[:, both].max() < 1e-5
    tiles = json.loads(summary.read_text())["scenes"][0]["tiles"]
    assert tiles["computed"] + tiles["skipped"] == 16
    assert tiles["skipped"] >= 6


def test_a_mask_does_not_know_blocks(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    mask = make_mask(tmp_path / "aoi.geojson", shapely.box(500_205, 5_149_305, 500_655, 5_149_805))
    for name, block in (("a.tif", 512), ("b.tif", 32)):
        predict(rsmeta, tiny_run, tmp_path / name, "--aoi", mask, "--set", f"block_px={block}")
    assert (read(tmp_path / "a.tif") == read(tmp_path / "b.tif")).all()
    assert (read(tmp_path / "a.tif") != NODATA).sum() == 45 * 50


def test_masks_that_cannot_be_used(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    far = make_mask(tmp_path / "far.gpkg", shapely.box(600_000, 5_000_000, 600_100, 5_000_100))
    line = tmp_path / "line.gpkg"
    geopandas.GeoDataFrame(
        geometry=[shapely.LineString([(0, 0), (1, 1)])], crs="EPSG:4326"
    ).to_file(line)
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    for mask, told in (
        (far, "do not meet the scene"), (line, "holds no polygon"),
        (tmp_path / "none.gpkg", "no polygons at"), (tiny_run.config, "as polygons"),
    ):  # fmt: skip
        ended = rsmeta(*words, "--aoi", mask)
        assert ended.status == 1
        assert told in ended.complaint
    assert not (tmp_path / "m.tif").exists()


# -- majority and sieve ----------------------------------------------------------------------


def test_majority_and_sieve_act_on_the_map_and_leave_shares(
    rsmeta: Rsmeta, tiny_run: TinyRun, plain: Path, tmp_path: Path
) -> None:
    predict(rsmeta, tiny_run, tmp_path / "map.tif", "--majority", 5, "--sieve", 60, "--confidence",
            tmp_path / "sure.tif", "--summary", tmp_path / "s.json")  # fmt: skip
    before, after = read(plain), read(tmp_path / "map.tif")
    indices = np.where(before == NODATA, -1, before.astype(np.int16) - 1).astype(np.int16)
    store = ClassStore(tmp_path / "store", indices.shape)
    store.write(0, majority(indices, 5))
    sieve(store, 60)
    expected = store.read(0, 96)
    assert (after == np.where(expected < 0, NODATA, expected + 1)).all()
    assert (after != before).any()
    shares = read(plain.with_name("shares.tif"))
    sure = read(tmp_path / "sure.tif")
    known = before != NODATA
    assert (sure[known] == shares.max(axis=0)[known]).all()
    assert np.isnan(sure[~known]).all()
    told = json.loads((tmp_path / "s.json").read_text())["scenes"][0]
    assert [one["pixels"] for one in told["classes"]] == [(after == v).sum() for v in (1, 2)]
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags()["RSMETA_REFINED"].startswith("majority of 5, sieve of 60")
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_tidying_does_not_know_blocks_and_can_be_gone_on_with(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ("--majority", 3, "--sieve", 20)
    predict(rsmeta, tiny_run, tmp_path / "a.tif", *words)
    predict(rsmeta, tiny_run, tmp_path / "b.tif", *words, "--set", "block_px=32", "--resume")
    assert (read(tmp_path / "a.tif") == read(tmp_path / "b.tif")).all()
    again = predict(rsmeta, tiny_run, tmp_path / "b.tif", *words, "--resume")
    assert "was finished already" in again.out
    ended = rsmeta("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output",
                   tmp_path / "b.tif", "--sieve", 5, "--resume")  # fmt: skip
    assert "in another way" in ended.complaint


def test_what_is_mapped_is_kept_when_refining_fails_and_nobody_else_may_write(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, raw = tmp_path / "m.tif", tmp_path / ".m.tif.raw"
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", place, "--sieve", 9)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(postprocessed, "sieve", full)
        assert "No space left" in rsmeta(*words).complaint
    assert not place.exists()
    made = (raw / "0_map.tif").stat().st_mtime_ns
    with locked(raw, place):
        assert "another process is writing" in rsmeta(*words, "--resume").complaint
    seen = []
    with monkeypatch.context() as patched:
        patched.setattr(
            postprocessed, "sieve",
            lambda store, least, **_: seen.append((raw / "0_map.tif").stat().st_mtime_ns) or 0,
        )  # fmt: skip
        assert rsmeta(*words, "--resume").status == 0
    assert seen == [made]  # the scene was not mapped again
    assert place.exists()
    assert not raw.exists()


# -- other grids -----------------------------------------------------------------------------


def test_another_crs_takes_the_nearest_class_and_shares_between(
    rsmeta: Rsmeta, tiny_run: TinyRun, plain: Path, tmp_path: Path
) -> None:
    predict(rsmeta, tiny_run, tmp_path / "map.tif", "--crs", "EPSG:3035", "--probabilities",
            tmp_path / "shares.tif")  # fmt: skip
    before = read(plain)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs.to_epsg() == 3035
        assert abs(file.transform.a - 10) < 0.3
        assert (file.transform.c / file.transform.a) % 1 == pytest.approx(0, abs=1e-6)
        after = file.read(1)
        rows, cols = np.mgrid[: file.height, : file.width]
        t = file.transform
        xs, ys = t.a * (cols.ravel() + 0.5) + t.c, t.e * (rows.ravel() + 0.5) + t.f
        x, y = map(np.array, transform(file.crs, "EPSG:32633", xs, ys))
    col, row = np.floor((x - 500_000) / 10).astype(int), np.floor((5_150_000 - y) / 10).astype(int)
    there = (col >= 0) & (col < 96) & (row >= 0) & (row < 96)
    expected = np.full(after.size, NODATA)
    expected[there] = before[row[there], col[there]]
    # an edge of two pixels may be rounded to either
    assert (expected.reshape(after.shape) != after).mean() < 0.002
    shares = read(tmp_path / "shares.tif")
    known = after != NODATA
    assert np.abs(shares.sum(axis=0)[known] - 1).max() < 1e-4
    assert np.isnan(shares[:, ~known]).all()


@pytest.mark.parametrize("side_m", [10.4, 25])
def test_shares_between_pixels_know_no_windows(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene, side_m: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = Affine(side_m, 0.0, 500_003.0, 0.0, -side_m, 5_149_993.0)
    like = make_scene(tmp_path / "like.tif", np.zeros((36, 36), np.uint8), transform=place)
    (tmp_path / "out").mkdir()
    for name, step_px in (("a", 2048), ("b", 16)):
        monkeypatch.setattr(postprocessed, "STEP_PX", step_px)
        predict(rsmeta, tiny_run, tmp_path / f"out/{name}.tif", "--like", like,
                "--probabilities", tmp_path / f"out/{name}_p.tif")  # fmt: skip
    one, other = (read(tmp_path / f"out/{name}_p.tif") for name in "ab")
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_grid_of_another_raster(
    rsmeta: Rsmeta, tiny_run: TinyRun, plain: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    place = Affine(10.0, 0.0, 500_200.0, 0.0, -10.0, 5_149_500.0)
    like = make_scene(tmp_path / "like.tif", np.zeros((80, 50), np.uint8), transform=place)
    predict(rsmeta, tiny_run, tmp_path / "map.tif", "--like", like)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.transform == place
        assert file.shape == (80, 50)
        after = file.read(1)
    assert (after[:46] == read(plain)[50:, 20:70]).all()
    assert (after[46:] == NODATA).all()


# -- mosaics ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overlapping(
    tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory, run_to_end: RunToEnd
) -> Path:
    """Two scenes that share 40 columns, the second with a hole; and the map of each."""
    folder = tmp_path_factory.mktemp("overlapping")
    with rasterio.open(tiny_run.scene) as file:
        for name, left, width in (("one", 0, 68), ("two", 28, 68)):
            window = Window(left, 0, width, 96)
            profile = file.profile | {
                "width": width, "transform": file.window_transform(window), "driver": "GTiff",
            }  # fmt: skip
            pixels = file.read(window=window)
            if name == "one":
                pixels[:, 40:50, 50:60] = 0
            else:  # noisier, so that the two are not sure of the same
                pixels = (pixels * 1.15).astype(pixels.dtype)
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as cut:
                cut.write(pixels)
                cut.descriptions = file.descriptions
    for name in ("one", "two"):
        run_to_end(
            "predict", folder / f"{name}.tif", "--model", tiny_run.bundle, "--output",
            folder / f"{name}_map.tif", "--probabilities", folder / f"{name}_shares.tif",
        )  # fmt: skip
    return folder


def placed(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return maps and shares of both scenes on the grid that holds both."""
    first, second = np.full((2, 96, 96), NODATA)
    shares_1, shares_2 = np.full((2, 2, 96, 96), np.nan)
    first[:, :68], second[:, 28:] = read(folder / "one_map.tif"), read(folder / "two_map.tif")
    shares_1[:, :, :68] = read(folder / "one_shares.tif")
    shares_2[:, :, 28:] = read(folder / "two_shares.tif")
    return first, second, shares_1, shares_2


@pytest.mark.parametrize("rule", ["first", "confidence", "mean"])
def test_overlapping_scenes_make_one_map(
    rsmeta: Rsmeta, tiny_run: TinyRun, overlapping: Path, tmp_path: Path, rule: str
) -> None:
    scenes = [overlapping / "one.tif", overlapping / "two.tif"]
    predict(rsmeta, tiny_run, tmp_path / "map.tif", "--mosaic", rule, "--probabilities",
            tmp_path / "shares.tif", scenes=scenes)  # fmt: skip
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.transform == Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_150_000.0)
        assert file.shape == (96, 96)
        assert file.tags()["RSMETA_SOURCE"] == "one.tif, two.tif"
        after = file.read(1)
    first, second, shares_1, shares_2 = placed(overlapping)
    sure_1, sure_2 = (np.nan_to_num(s).max(axis=0) for s in (shares_1, shares_2))
    if rule == "mean":
        shares = _mean(shares_1, shares_2)
        expected = np.where(np.isnan(shares[0]), NODATA, 1 + np.nan_to_num(shares).argmax(axis=0))
    else:
        takes_first = sure_1 >= sure_2 if rule == "confidence" else first != NODATA
        expected = np.where(takes_first, first, second)
        shares = np.where(takes_first, shares_1, shares_2)
    assert (after == expected).all()
    assert np.nan_to_num(read(tmp_path / "shares.tif")) == pytest.approx(
        np.nan_to_num(shares), abs=1e-5
    )
    assert (after[40:50, 50:60] == second[40:50, 50:60]).all()  # the hole of the first is filled


def _mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    known = (~np.isnan(one)).astype(float) + ~np.isnan(other)
    total = np.nan_to_num(one) + np.nan_to_num(other)
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def test_a_mosaic_by_confidence_needs_no_probabilities_and_takes_a_mask(
    rsmeta: Rsmeta, tiny_run: TinyRun, overlapping: Path, tmp_path: Path
) -> None:
    mask = make_mask(tmp_path / "aoi.gpkg", shapely.box(500_015, 5_149_100, 500_205, 5_149_905))
    folder = tmp_path / "maps"
    scenes = [overlapping / "one.tif", overlapping / "two.tif"]  # the second lies outside
    ended = rsmeta("predict", *scenes, "--model", tiny_run.bundle, "--output", folder, "--mosaic",
                   "confidence", "--aoi", mask, "--crs", "EPSG:3857", "--sieve", 4)  # fmt: skip
    assert ended.status == 0, ended.err
    names = {path.name for path in folder.iterdir() if path.suffix == ".tif"}
    assert names == {"mosaic_map.tif"}
    known = read(folder / "mosaic_map.tif") != NODATA
    assert 0.1 < known.mean() < 0.4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--majority", 4), "no middle"),
        (("--sieve", 1), "lets all through"),
        (("--crs", "EPSG:99"), "is no CRS"),
        (("--crs", "EPSG:3035", "--like", "x.tif"), "give one of the two"),
        (("--like", "none.tif"), "no scene at none.tif"),
    ],
)
def test_what_cannot_be_made(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, words: tuple[object, ...], told: str
) -> None:
    ended = rsmeta("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output",
                   tmp_path / "m.tif", *words)  # fmt: skip
    assert ended.status == 1
    assert told in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_scene_without_crs_can_be_tidied_and_not_projected(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_scene: MakeScene
) -> None:
    with rasterio.open(tiny_run.scene) as file:
        pixels, names = file.read(), file.descriptions
    scene = make_scene(tmp_path / "s.tif", pixels, crs=None, descriptions=names, nodata=0)
    words = ("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert "no place on another grid" in rsmeta(*words, "--crs", "EPSG:3035").complaint
    assert rsmeta(*words, "--sieve", 10).status == 0


# -- what is told ----------------------------------------------------------------------------


def links_to_scenes(item: dict[str, Any]) -> list[str]:
    return [link["href"] for link in item["links"] if link["title"] == "the scene"]


def test_the_item_of_a_mosaic_names_the_scenes_that_are_in_it_and_their_times(
    rsmeta: Rsmeta, tiny_run: TinyRun, overlapping: Path, tmp_path: Path, stac_schemas: Path
) -> None:
    times = {"one": "2026-03-01T10:00:00+00:00", "two": "2026-02-01T10:00:00+00:00", "three": None}
    for name, time in times.items():
        source = overlapping / ("one.tif" if name == "three" else f"{name}.tif")
        shutil.copy(source, tmp_path / f"{name}.tif")
        if time is not None:
            with rasterio.open(tmp_path / f"{name}.tif", "r+") as file:
                file.update_tags(ACQUISITIONDATETIME=time)
    scenes = [tmp_path / f"{name}.tif" for name in times]  # the third shows what the first does
    words = ("--mosaic", "first", "--stac", tmp_path / "m.json", "--quicklook", tmp_path / "m.png")
    predict(rsmeta, tiny_run, tmp_path / "m.tif", *words, scenes=scenes)
    item = check_item(tmp_path / "m.json", stac_schemas)
    assert links_to_scenes(item) == ["./one.tif", "./two.tif"]
    told = item["properties"]
    assert told["datetime"] is None
    assert told["start_datetime"] == "2026-02-01T10:00:00Z"
    assert told["end_datetime"] == "2026-03-01T10:00:00Z"
    with rasterio.open(tmp_path / "m.tif") as file:
        assert "ACQUISITIONDATETIME" not in file.tags()
    predict(rsmeta, tiny_run, tmp_path / "m.tif", *words, "--sieve", 9, "--overwrite",
            scenes=scenes[::2])  # fmt: skip
    item = check_item(tmp_path / "m.json", stac_schemas)
    assert links_to_scenes(item) == ["./one.tif"]
    assert item["properties"]["datetime"] == "2026-03-01T10:00:00Z"
    assert "start_datetime" not in item["properties"]


def test_refining_and_polygons_tell_how_far_they_are(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
             "--overwrite", "--sieve", 9, "--vector", tmp_path / "v.fgb")  # fmt: skip
    lines = rsmeta(*words).err.splitlines()
    for stage in ("postprocessing", "polygons"):
        told = [line for line in lines if f"m.tif: {stage} " in line]
        assert len(told) >= 2
        assert f"{stage} 100%, " in told[-1]
        assert "tiles" not in told[-1]
    assert not rsmeta("--quiet", *words).err
