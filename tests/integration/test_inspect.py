"""``rsmeta inspect`` of rasters without names, labels, vector files, maps and unfinished runs."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun


def inspected(rsmeta: Rsmeta, path: object) -> dict[str, Any]:
    """Return what ``inspect --json`` says, and check that the text has it too."""
    text = rsmeta("inspect", path)
    assert text.status == 0, text.err
    assert max(map(len, text.out.splitlines())) < 400
    ended = rsmeta("inspect", path, "--json")
    assert ended.status == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    assert text.out.startswith(f"kind: {found['kind']}\n")
    return found


def test_a_raster_without_names(rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path) -> None:
    image = np.arange(4 * 600, dtype=np.int16).reshape(4, 20, 30)
    image[:, 0] = -1
    found = inspected(rsmeta, make_scene(tmp_path / "s.tif", image, nodata=-1))
    assert (found["kind"], found["width_px"], found["crs"]) == ("raster", 30, "EPSG:32633")
    assert [band["minimum"] for band in found["bands"]] == [30, 630, 1230, 1830]
    assert [band["maximum"] for band in found["bands"]] == [599, 1199, 1799, 2399]
    assert {band["dtype"] for band in found["bands"]} == {"int16"}
    assert "data.sensor=naip" in found["guess"]


def test_two_hundred_bands_make_a_short_table(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    path = make_scene(tmp_path / "s.tif", np.ones((200, 4, 4), np.uint16))
    assert len(inspected(rsmeta, path)["bands"]) == 200
    out = rsmeta("inspect", path).out
    assert len(out.splitlines()) < 45
    assert "more (--json shows all)" in out


def test_labels_and_numbers(rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path) -> None:
    values = np.repeat(np.array([[0, 3, 3, 7, 255]], np.uint8), 5, axis=0)
    found = inspected(rsmeta, make_scene(tmp_path / "labels.tif", values, nodata=255))
    assert found["kind"] == "labels"
    assert {row["value"]: row["share"] for row in found["values"]} == {0: 0.25, 3: 0.5, 7: 0.25}
    assert "data.classes: {3: name, 7: name}" in found["guess"]
    heights = np.linspace(0, 9, 25, dtype=np.float32).reshape(5, 5)
    assert "regression" in inspected(rsmeta, make_scene(tmp_path / "dem.tif", heights))["guess"]
    nothing = make_scene(tmp_path / "empty.tif", np.full((5, 5), 255, np.uint8), nodata=255)
    assert "no pixel" in inspected(rsmeta, nothing)["guess"]


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "fgb", "parquet", "json"])
def test_vector_files(rsmeta: Rsmeta, tmp_path: Path, suffix: str) -> None:
    boxes = [shapely.box(i, 0, i + 1, 1) for i in range(3)]
    frame = geopandas.GeoDataFrame(
        {"class": ["water", "forest", None]}, geometry=boxes, crs="EPSG:32633"
    )
    path = tmp_path / f"labels.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, driver="GeoJSON" if suffix == "json" else None)
    found = inspected(rsmeta, path)
    (layer,) = found["layers"]
    assert (found["kind"], layer["features"], layer["geometry"]) == ("vector", 3, ["Polygon"])
    assert layer["crs"] == "EPSG:32633"
    assert layer["columns"]["class"]["values"] == {"water": 1, "forest": 1, "(empty)": 1}


def test_layers_one_by_one_and_a_damaged_file(rsmeta: Rsmeta, tmp_path: Path) -> None:
    points = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(0, 0)], crs="EPSG:4326")
    points.to_file(tmp_path / "two.gpkg", layer="a")
    points.to_file(tmp_path / "two.gpkg", layer="b")
    assert [one["name"] for one in inspected(rsmeta, tmp_path / "two.gpkg")["layers"]] == ["a", "b"]
    assert len(inspected(rsmeta, f"{tmp_path / 'two.gpkg'}|layername=b")["layers"]) == 1
    (tmp_path / "cut.gpkg").write_bytes((tmp_path / "two.gpkg").read_bytes()[:500])
    assert "cut.gpkg" in rsmeta("inspect", tmp_path / "cut.gpkg").complaint


def test_own_maps(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    given = ("predict", tiny_run.scene, "--model", tiny_run.bundle)
    ended = rsmeta(
        *given, "--output", tmp_path / "m.tif", "--confidence", tmp_path / "c.tif",
        "--probabilities", tmp_path / "p.tif", "--vector", tmp_path / "m.gpkg",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    found = inspected(rsmeta, tmp_path / "m.tif")
    assert (found["kind"], found["source"]) == ("map", tiny_run.scene.name)
    assert [row["name"] for row in found["classes"]] == ["bare", "meadow"]
    assert sum(row["share"] for row in found["classes"]) == pytest.approx(1, abs=1e-3)
    for name, count in (("c.tif", 1), ("p.tif", 2)):
        found = inspected(rsmeta, tmp_path / name)
        assert found["kind"] == "map"
        assert len(found["bands"]) == count
        assert all(0 <= band["minimum"] <= band["maximum"] <= 1 for band in found["bands"])
    (layer,) = inspected(rsmeta, tmp_path / "m.gpkg")["layers"]
    assert set(layer["columns"]["class"]["values"]) == {"bare", "meadow"}
    assert rsmeta(*given, "--output", tmp_path / "m.nc").status == 0
    assert inspected(rsmeta, tmp_path / "m.nc")["path"] == str(tmp_path / "m.nc")


def test_a_scene_with_known_bands_shows_its_values(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    image = np.arange(2 * 20 * 30, dtype=np.float32).reshape(2, 20, 30) / 1000
    image[:, :5] = -1
    path = make_scene(tmp_path / "s.tif", image, descriptions=("red", "nir"), nodata=-1)
    found = inspected(rsmeta, path)
    assert found["kind"] == "scene"
    assert found["share_without_data"] == 0.25
    for row, band, valid in zip(found["values"], ("red", "nir"), image[:, 5:], strict=True):
        assert row["band"] == band
        assert row["minimum"] == pytest.approx(valid.min(), rel=1e-4)
        assert row["mean"] == pytest.approx(valid.mean(), rel=1e-4)
        assert row["percentile_98"] == pytest.approx(np.percentile(valid, 98), rel=1e-4)
    empty = make_scene(tmp_path / "e.tif", np.full((1, 4, 4), -1, np.float32),
                       descriptions=("red",), nodata=-1)  # fmt: skip
    assert inspected(rsmeta, empty)["values"] == []
    assert inspected(rsmeta, empty)["share_without_data"] == 1


def test_a_run_and_its_report(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert rsmeta("report", tiny_run.folder, "--output", page).status == 0
    found = inspected(rsmeta, page)
    assert (found["kind"], found["about"]) == ("report", "Training run")
    assert found["title"] == tiny_run.folder.name
    assert found["facts"]
    assert found["provenance"]
    run = inspected(rsmeta, tiny_run.folder)
    assert run["status"].startswith("finished")
    assert "curves.png" in run["pictures"]
    (tmp_path / "other.html").write_text("<h1>Else</h1>")
    assert "is no page of rsmeta" in rsmeta("inspect", tmp_path / "other.html").complaint
    assert "cannot read" in rsmeta("inspect", tmp_path / "absent.html").complaint


def test_an_unfinished_run(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run.folder, tmp_path / "run")
    shutil.rmtree(run / "bundle")
    assert "--resume" in inspected(rsmeta, run)["status"]


def test_a_page_of_the_training_data(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    text = tiny_run.config.read_text(encoding="utf-8")
    config.write_text(text.replace("data:\n", f"data:\n  root: {tiny_run.data}\n", 1))
    page = tmp_path / "config.html"
    ended = rsmeta("inspect", config, "--page")
    assert (ended.status, ended.out) == (0, f"page: {page}\n")
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 4
    for said in ("Labels over imagery", "Split", "Labelled pixels", "Band values", "Training data"):
        assert said in html
    assert "classes</li>" in html
    again = rsmeta("inspect", config, "--page")
    assert (again.status, "exists" in again.err) == (1, True)
    assert rsmeta("inspect", config, "--page", "--overwrite").status == 0
    alone = rsmeta("inspect", config, "--output", page)
    assert (alone.status, "--page" in alone.err) == (2, True)


def test_statistics_and_what_init_would_guess(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    image = np.full((4, 40, 50), 200, np.uint16)
    image[:, 10:, 10:] = np.arange(30 * 40).reshape(30, 40) % 100
    image[:, :10] = 255
    found = inspected(rsmeta, make_scene(tmp_path / "s.tif", image))
    assert found["share_without_data"] == 0
    assert found["bands"][0]["mean"] == pytest.approx(image[0].mean())
    assert found["bands"][0]["deviation"] == pytest.approx(image[0].std())
    assert found["init_guesses"]["nodata"].startswith("255; the file states none; 25%")
    bare = make_scene(tmp_path / "t.tif", image, nodata=255)
    assert inspected(rsmeta, bare)["share_without_data"] == 0.25


def test_classes_areas_and_broken_polygons(rsmeta: Rsmeta, tmp_path: Path) -> None:
    bow_tie = shapely.Polygon(
        [(500_000, 5e6), (500_010, 5e6 + 10), (500_010, 5e6), (500_000, 5e6 + 10)]
    )
    shapes = [shapely.box(500_000 + 20 * i, 5e6, 500_010 + 20 * i, 5e6 + 10) for i in range(5)]
    table = {"nr": range(6), "klasse": ["water", "land", "water", "land", "", "land"]}
    frame = geopandas.GeoDataFrame(table, geometry=[*shapes, bow_tie], crs="EPSG:32633")
    frame.to_file(tmp_path / "f.gpkg")
    (layer,) = inspected(rsmeta, tmp_path / "f.gpkg")["layers"]
    assert layer["invalid_geometries"] == "1 (Self-intersection); mended when read"
    assert layer["class_column_guess"] == "klasse"
    rows = {row["class"]: row for row in layer["classes"]}
    assert {name: row["features"] for name, row in rows.items()} == {
        "water": 2, "land": 3, "(empty)": 1,
    }  # fmt: skip
    assert rows["water"]["area_m2"] == pytest.approx(200, rel=2e-3)


def test_a_folder(rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path) -> None:
    make_scene(tmp_path / "a.tif", np.ones((3, 20, 30), np.uint16))
    frame = geopandas.GeoDataFrame({"c": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
    frame.to_file(tmp_path / "b.gpkg")
    (tmp_path / "c.tif").write_bytes(b"no raster")
    (tmp_path / "d.txt").write_text("x")
    found = inspected(rsmeta, tmp_path)
    assert found["kind"] == "folder"
    rows = {row["file"]: row for row in found["files"]}
    assert list(rows) == ["a.tif", "b.gpkg", "c.tif"]
    assert rows["a.tif"]["holds"] == "3 bands of uint16, 30 x 20 px"
    assert (rows["a.tif"]["crs"], rows["a.tif"]["gsd_m"]) == ("EPSG:32633", 10)
    assert (rows["b.gpkg"]["holds"], rows["b.gpkg"]["crs"]) == (
        "1 feature in 1 layer", "EPSG:4326",
    )  # fmt: skip
    assert rows["c.tif"]["holds"].startswith("unreadable: cannot read")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert rsmeta("inspect", empty).status == 1
