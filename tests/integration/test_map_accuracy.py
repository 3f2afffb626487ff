"""``rsmeta evaluate --map``: rasters, polygons and points as references, and drawn samples."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from rsmeta.config.load import load_settings
from rsmeta.data.datamodule import SceneDataModule

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import MakePolygons, Rsmeta, RunToEnd, TinyRun

BARE, MEADOW = 1, 2


@pytest.fixture(scope="module")
def mapped(
    tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory, run_to_end: RunToEnd
) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "map.tif"
    run_to_end("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", path)
    return path


def values_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read(1)
    return values


def make_points(
    path: Path, places: list[tuple[float, float]], classes: list[Any], **columns: list[Any]
) -> Path:
    """Write points at (column, row) of the western scene, in degrees."""
    points = [shapely.Point(500_000 + 10 * col, 5_150_000 - 10 * row) for col, row in places]
    frame = geopandas.GeoDataFrame({"class": classes} | columns, geometry=points, crs="EPSG:32633")
    frame.to_crs("EPSG:4326").to_file(path)
    return path


def evaluated(rsmeta: Rsmeta, mapped: Path, reference: Path, *words: object) -> dict[str, Any]:
    ended = rsmeta("evaluate", "--map", mapped, "--reference", reference, "--json", *words)
    assert ended.status == 0, ended.err
    told: dict[str, Any] = json.loads(ended.out)
    return told


def test_a_raster_gives_counts_and_no_estimates(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path
) -> None:
    told = evaluated(rsmeta, mapped, tiny_run.labels)
    values, labels = values_of(mapped), values_of(tiny_run.labels)
    known = values != 255
    assert told["reference"] == {"kind": "raster", "left_out": 0}
    assert told["estimates"] is None
    assert told["pixels"] == known.sum()
    bare = told["classes"]["bare"]
    assert bare["mapped_pixels"] == (values == BARE).sum()
    assert bare["mapped_area_m2"] == pytest.approx(100.08 * (values == BARE).sum(), rel=1e-4)
    hit = ((values == BARE) & (labels == BARE)).sum()
    assert bare["precision"] == pytest.approx(hit / (values == BARE).sum())
    assert bare["recall"] == pytest.approx(hit / ((labels == BARE) & known).sum())


def test_polygons_are_told_apart_from_points(
    rsmeta: Rsmeta, mapped: Path, tmp_path: Path, make_polygons: MakePolygons
) -> None:
    polygons = make_polygons(tmp_path / "p.gpkg", kind=["bare", "meadow"])
    told = evaluated(rsmeta, mapped, polygons)
    assert told["reference"]["kind"] == "polygons"
    assert told["estimates"] is None


def test_each_point_counts_once_and_weighs_by_its_stratum(
    rsmeta: Rsmeta, mapped: Path, tmp_path: Path
) -> None:
    values = values_of(mapped)
    places: list[tuple[float, float]] = []
    classes: list[str | None] = []
    for value, seen in ((BARE, ["bare"] * 8 + ["meadow"] * 2), (MEADOW, ["meadow"] * 20)):
        rows, cols = np.nonzero(values == value)
        spread = np.linspace(0, len(rows) - 1, len(seen)).astype(int)
        places += [(cols[i] + 0.5, rows[i] + 0.5) for i in spread]
        classes += seen
    places += [(3.5, 3.5), (500.0, 500.0), (50.5, 50.5)]  # no data there, outside, not yet seen
    points = make_points(tmp_path / "points.gpkg", places, [*classes, "bare", "bare", None])
    told = evaluated(rsmeta, mapped, points)
    assert told["reference"] == {"kind": "points", "left_out": 3}
    assert told["confusion"] == [[8, 0], [2, 20]]
    assert told["pixels"] == 30
    bare_m2, meadow_m2 = (100.08 * (values == value).sum() for value in (BARE, MEADOW))
    one = told["estimates"]["classes"]["bare"]
    assert one["area_m2"]["value"] == pytest.approx(0.8 * bare_m2, rel=1e-4)
    assert one["area_m2"]["standard_error"] == pytest.approx(
        bare_m2 * (0.8 * 0.2 / 9) ** 0.5, rel=1e-4
    )
    right = (0.8 * bare_m2 + meadow_m2) / (bare_m2 + meadow_m2)
    assert told["estimates"]["overall_accuracy"]["value"] == pytest.approx(right)
    shown = rsmeta("evaluate", "--map", mapped, "--reference", points)
    assert "skipped 2 of 32 points that lie outside the mapped area" in shown.err
    assert "1 of 33 points have no class" in shown.err
    assert f"overall accuracy {right:.4f} ± " in shown.out
    assert "user's" in shown.out
    assert "estimated ha" in shown.out
    assert "fewer than" not in shown.err
    few = make_points(tmp_path / "few.gpkg", places[6:30], classes[6:])
    assert (
        "fewer than 10 points lie where the map has bare"
        in rsmeta("evaluate", "--map", mapped, "--reference", few).err
    )


def test_a_class_without_points_leaves_counts_alone(
    rsmeta: Rsmeta, mapped: Path, tmp_path: Path
) -> None:
    row, col = np.argwhere(values_of(mapped) == BARE)[0]
    points = make_points(tmp_path / "points.geojson", [(col + 0.5, row + 0.5)], ["bare"])
    ended = rsmeta("evaluate", "--map", mapped, "--reference", points)
    assert ended.status == 0
    assert "no sample lies where the map has meadow" in ended.err
    assert "estimates for the whole map" not in ended.out


def test_a_drawn_sample_comes_back_as_a_reference(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, tmp_path: Path
) -> None:
    points, numbers = tmp_path / "sample.gpkg", tmp_path / "accuracy.json"
    words = ("evaluate", "--map", mapped, "--draw-sample", 200, "--output", points)
    ended = rsmeta(*words)
    assert ended.status == 0, ended.err
    assert "200 points" in ended.out
    assert "exists already" in rsmeta(*words).complaint
    frame = geopandas.read_file(points)
    assert "no point" in rsmeta("evaluate", "--map", mapped, "--reference", points,
                                "--class-column", "class").complaint  # fmt: skip
    labels = values_of(tiny_run.labels)
    cols = ((frame.geometry.x - 500_000) // 10).astype(int)
    rows = ((5_150_000 - frame.geometry.y) // 10).astype(int)
    frame["class"] = np.array(["", "bare", "meadow"])[labels[rows, cols]]
    frame.to_file(points)
    told = evaluated(rsmeta, mapped, points, "--output", numbers)
    assert json.loads(numbers.read_text()) == told
    assert told["reference"] == {"kind": "points", "left_out": 0}
    known = values_of(mapped) != 255
    for name, value in (("bare", BARE), ("meadow", MEADOW)):
        area = told["estimates"]["classes"][name]["area_m2"]
        truth = 100.0 * (known & (labels == value)).sum()
        assert abs(area["value"] - truth) < 4 * area["standard_error"] + 0.03 * truth


def test_what_is_no_sample_or_reference(
    rsmeta: Rsmeta, mapped: Path, tiny_run: TinyRun, tmp_path: Path
) -> None:
    draw = ("evaluate", "--map", mapped, "--draw-sample")
    assert "--output" in rsmeta(*draw, 10).err
    assert rsmeta(*draw, 0, "--output", tmp_path / "p.gpkg").status == 2
    assert ".gpkg" in rsmeta(*draw, 10, "--output", tmp_path / "p.txt").complaint
    not_a_map = rsmeta("evaluate", "--map", tiny_run.scene, "--draw-sample", 5, "--output",
                       tmp_path / "p.gpkg")  # fmt: skip
    assert "does not name its classes" in not_a_map.complaint
    wrong = make_points(tmp_path / "w.gpkg", [(20.5, 20.5)], ["baer"])
    ended = rsmeta("evaluate", "--map", mapped, "--reference", wrong, "--class-column", "class")
    assert "did you mean 'bare'" in ended.complaint


def test_an_area_in_degrees(rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path) -> None:
    from rasterio.transform import Affine

    values = np.full((20, 20), BARE, np.uint8)
    values[10:] = MEADOW
    path = make_scene(tmp_path / "map.tif", values, crs="EPSG:4326", nodata=255,
                      transform=Affine(0.001, 0, 14.0, 0, -0.001, 46.0))  # fmt: skip
    classes = [{"value": 1, "name": "bare", "colour": "#aa0000"},
               {"value": 2, "name": "meadow", "colour": "#00aa00"}]  # fmt: skip
    with rasterio.open(path, "r+") as file:
        file.update_tags(RSMETA_CLASSES=json.dumps(classes))
    told = evaluated(rsmeta, path, make_scene(tmp_path / "r.tif", values, crs="EPSG:4326",
                     transform=Affine(0.001, 0, 14.0, 0, -0.001, 46.0)))  # fmt: skip
    # 0.001 degrees are 77.4 m by 111.2 m there
    assert told["classes"]["bare"]["mapped_area_m2"] == pytest.approx(200 * 77.4 * 111.15, rel=2e-3)


def test_a_reference_value_that_is_no_class_can_be_left_out(
    rsmeta: Rsmeta, mapped: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    reference = values_of(mapped).astype(np.int16)
    reference[reference == 255] = -1
    reference[:3] = -1
    with rasterio.open(mapped) as file:
        path = make_scene(tmp_path / "r.tif", reference, crs=file.crs, transform=file.transform)
    ended = rsmeta("evaluate", "--map", mapped, "--reference", path)
    assert ended.status == 1
    assert "holds the value -1, which is no class (1, 2); skip it with --ignore '-1'" in ended.err
    assert evaluated(rsmeta, mapped, path, "--ignore", -1)["accuracy"] == 1


def test_a_name_that_is_no_class_can_be_ignored_as_the_message_says(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, make_polygons: MakePolygons
) -> None:
    place = tmp_path / "m.tif"
    given = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", place)
    assert rsmeta(*given).status == 0
    reference = make_polygons(tmp_path / "p.gpkg", kind=["bare", "open sea"])
    words = ("evaluate", "--map", place, "--reference", reference)
    complaint = rsmeta(*words).complaint
    advice = shlex.split(complaint[complaint.index("--ignore") :])
    assert advice == ["--ignore", "open sea"]
    ended = rsmeta(*words, *advice)
    assert ended.status == 0, ended.err


def test_every_way_to_score_a_model_gives_the_same_figures(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    settings = load_settings(tiny_run.folder / "config.yaml")
    parts = SceneDataModule(settings.scenes, seed=settings.seed).parts
    stored = json.loads((tiny_run.folder / "metrics.json").read_text())["validation"]
    scored = rsmeta("evaluate", "--model", tiny_run.bundle, tiny_run.folder / "config.yaml",
                    "--split", "validation", "--json")  # fmt: skip
    assert scored.status == 0, scored.err
    labels = [one.labelled for one in parts["validation"]]
    confusion = np.zeros((2, 2), int)
    for i, one in enumerate(labels):
        values = one.read_labels(one.scene.grid.full_window) + 1  # 0: no label of this part
        reference = make_scene(
            tmp_path / f"r{i}.tif", values.astype(np.uint8),
            crs=one.scene.grid.crs.to_string(), transform=one.scene.grid.transform,
        )  # fmt: skip
        path = tmp_path / f"m{i}.tif"
        ended = rsmeta("predict", one.scene.name, "--model", tiny_run.bundle, "--output", path)
        assert ended.status == 0, ended.err
        confusion += evaluated(rsmeta, path, reference, "--ignore", 0)["confusion"]
    assert confusion.tolist() == stored["confusion"]
    for key in ("accuracy", "miou", "macro_f1", "kappa", "confusion"):
        assert json.loads(scored.out)[key] == stored[key], key
    if len(labels) == 1:
        assert evaluated(rsmeta, path, reference, "--ignore", 0)["miou"] == stored["miou"]
