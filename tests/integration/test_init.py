"""``rsmeta init``: what it guesses from files, and that what it writes trains as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely
import yaml
from affine import Affine

import rsmeta as library
from rsmeta.errors import ConfigError, LabelsError, OutputError, SplitError
from rsmeta.workflows.init.guess import Guess, section_lines
from tests.conftest import SOME_PLACE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

SIDE = 64
COLOURS = ("blue", "green", "red", "nir")


def boxes(folder: Path, rows: Sequence[dict[str, Any]], name: str = "p.gpkg") -> Path:
    """Write polygons of 6 by 6 pixels side by side on the scene, one for each row of a table."""
    shapes = [
        shapely.box(*SOME_PLACE * (8 * (i % 8), 8 * (i // 8) + 6), *SOME_PLACE
                    * (8 * (i % 8) + 6, 8 * (i // 8)))
        for i in range(len(rows))
    ]  # fmt: skip
    path = folder / name
    geopandas.GeoDataFrame(list(rows), geometry=shapes, crs="EPSG:32633").to_file(path)
    return path


def values(bands: int = 4, dtype: str = "uint16", high: int = 4000) -> np.ndarray:
    """Return bands of values that differ from pixel to pixel."""
    rng = np.random.default_rng(0)
    return rng.integers(high // 4, high, (bands, SIDE, SIDE)).astype(dtype)


@pytest.fixture
def scene(make_scene: MakeScene, tmp_path: Path) -> Path:
    """A scene with names and a frame of zeros that no tag declares."""
    image = values()
    image[:, :6] = 0
    return make_scene(tmp_path / "scene.tif", image, descriptions=COLOURS)


def data_of(draft: library.Draft) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(draft.text)["data"]
    return data


def test_polygons_to_configuration_to_bundle(rsmeta: Rsmeta, scene: Path, tmp_path: Path) -> None:
    rows = [
        {"id": i, "day": f"2015-07-{i % 3 + 1:02}", "Nutzung": ("Wald", "Wasser")[i % 2],
         "code": (311, 512)[i % 2], "nr": (7, 3)[i % 2]}
        for i in range(8, 40)
    ]  # fmt: skip
    labels = boxes(tmp_path, [*rows[:8], *rows])
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    ended = rsmeta("init", scene, labels, "--output", config)
    assert ended.status == 0, ended.err
    text = config.read_text(encoding="utf-8")
    assert text in ended.out
    assert re.search(r"to train \(about .* on this machine\)", ended.out)
    assert f"rsmeta train {config} --output run" in ended.out
    assert f"rsmeta predict {scene} --model run/bundle" in ended.out
    data = yaml.safe_load(text)["data"]
    assert data["class_column"] == "Nutzung"
    assert {c["value"]: c["name"] for c in data["classes"]} == {3: "Wasser", 7: "Wald"}
    assert (data["nodata"], data["scale"]) == (0, 0.0001)
    held_out = {"by": "polygons", "validation": 0.2, "test": 0.2}
    assert data["split"] == held_out | {"refit": True}
    assert "by the names in the file" in text
    assert "polygons, " in text
    assert "hold 0 in every band" in text
    trained = rsmeta("train", config, "model=pixels", "--output", run)  # auto takes longer
    assert trained.status == 0, trained.err
    assert (run / "bundle" / "bundle.yaml").exists()


def test_train_needs_no_file(rsmeta: Rsmeta, scene: Path, tmp_path: Path) -> None:
    labels = boxes(tmp_path, [{"class": "ab"[i % 2]} for i in range(8, 48)])
    given = (f"scenes={scene}", f"labels={labels}")
    ended = rsmeta("train", *given, "model=pixels", "data.chip_px=32", "--dry-run")
    assert ended.status == 0, ended.err
    assert "class_column: class" in ended.out
    assert "the head forest would be fitted to the labelled pixels" in ended.out
    assert "nothing was trained" in ended.out
    wrong = rsmeta("train", *given, "data.chip_px=3", "--dry-run")
    assert (wrong.status, "chip_px" in wrong.err) == (1, True)
    lacking = rsmeta("train", f"scenes={scene}", "--output", tmp_path / "other")
    assert (lacking.status, "labels=" in lacking.err) == (1, True)


@pytest.mark.slow
def test_init_trains_at_once(rsmeta: Rsmeta, scene: Path, tmp_path: Path) -> None:
    labels = boxes(tmp_path, [{"class": "ab"[i % 2]} for i in range(8, 48)])
    run = tmp_path / "run"
    ended = rsmeta("init", scene, labels, "--output", tmp_path / "c.yaml", "--train", "--run", run)
    assert ended.status == 0, ended.err
    assert (run / "metrics.json").exists()


def test_nothing_is_replaced(scene: Path, tmp_path: Path) -> None:
    labels = boxes(tmp_path, [{"class": "ab"[i % 2]} for i in range(8, 48)])
    config = tmp_path / "c.yaml"
    config.write_text("mine")
    with pytest.raises(OutputError):
        library.init(scene, labels=labels, output=config)
    assert config.read_text() == "mine"
    library.init(scene, labels=labels, output=config, overwrite=True)
    assert config.read_text().startswith("# Guessed")


@pytest.mark.parametrize(
    ("found", "classes", "ignore"),
    [
        ([0, 3, 7], [3, 7], 0),  # 0 is no label where others are left
        ([0, 1], [0, 1], None),  # … but is a class where one would be left
        ([2, 3, 4], [2, 3, 4], None),
    ],
)
def test_values_of_label_rasters(
    scene: Path, make_scene: MakeScene, tmp_path: Path,
    found: list[int], classes: list[int], ignore: int | None,
) -> None:  # fmt: skip
    stripes = np.resize(np.repeat(np.array(found, np.uint8), 4), (SIDE, SIDE))
    data = data_of(library.init(scene, labels=make_scene(tmp_path / "l.tif", stripes)))
    assert [one["value"] for one in data["classes"]] == classes
    assert data.get("ignore") == ignore


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.yaml", "classes: {1: water, 2: land}"),
        ("l.json", '{"1": "water", "2": "land"}'),
        ("l.csv", "value,name\n1,water\n2,land\n"),
        ("legend.txt", "1 water\n2 land\n"),
        ("l.qml", '<qgis><rasterrenderer><colorPalette><paletteEntry value="1" label="water" '
         'color="#123456"/><paletteEntry value="2" label="land" color="#654321"/>'
         "</colorPalette></rasterrenderer></qgis>"),
        ("l.tif.aux.xml", "<PAMDataset><PAMRasterBand band='1'><CategoryNames><Category/>"
         "<Category>water</Category><Category>land</Category></CategoryNames></PAMRasterBand>"
         "</PAMDataset>"),
        ("l.tif.aux.xml", "<PAMDataset><PAMRasterBand band='1'><GDALRasterAttributeTable>"
         "<FieldDefn><Name>V</Name><Usage>5</Usage></FieldDefn>"
         "<FieldDefn><Name>N</Name><Usage>2</Usage></FieldDefn>"
         "<Row><F>1</F><F>water</F></Row><Row><F>2</F><F>land</F></Row>"
         "</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"),
    ],
)  # fmt: skip
def test_names_beside_a_label_raster(
    scene: Path, make_scene: MakeScene, tmp_path: Path, name: str, text: str
) -> None:
    labels = make_scene(
        tmp_path / "l.tif", np.resize(np.repeat(np.array([0, 1, 2], np.uint8), 4), (SIDE, SIDE))
    )
    (tmp_path / name).write_text(text)
    draft = library.init(scene, labels=labels)
    assert [(c["value"], c["name"]) for c in data_of(draft)["classes"]][-2:] == [
        (1, "water"), (2, "land"),
    ]  # fmt: skip
    assert f"names from {name}" in draft.text


def test_codes_of_a_published_legend_have_names(
    scene: Path, make_scene: MakeScene, tmp_path: Path
) -> None:
    codes = [0, 11, 41, 82]
    stripes = np.resize(np.repeat(np.array(codes, np.uint8), 4), (SIDE, SIDE))
    drafts = [
        library.init(scene, labels=make_scene(tmp_path / "l.tif", stripes)),
        library.init(scene, labels=boxes(tmp_path, [{"lc": codes[1 + i % 3]} for i in range(48)])),
    ]
    for draft in drafts:
        found = data_of(draft)["classes"]
        assert [(one["value"], one["name"], one["colour"]) for one in found] == [
            (11, "Open Water", "#466b9f"), (41, "Deciduous Forest", "#68ab5f"),
            (82, "Cultivated Crops", "#ab6c28"),
        ]  # fmt: skip
        assert "codes of NLCD" in draft.text


def test_a_label_raster_for_each_scene(make_scene: MakeScene, tmp_path: Path) -> None:
    stripes = np.resize(np.repeat(np.array([0, 1, 2], np.uint8), 4), (SIDE, SIDE))
    for stem in ("west", "east"):
        make_scene(tmp_path / f"{stem}.tif", values(), descriptions=COLOURS)
        make_scene(tmp_path / f"{stem}_mask.tif", stripes)
    both = sorted(tmp_path.glob("*.tif"))
    drafts = [
        library.init(*both[:-1], labels=both[-1]),  # as the shell expands *.tif
        library.init(tmp_path, labels=tmp_path / "{stem}_mask.tif"),
    ]
    for draft in drafts:
        assert data_of(draft)["labels"] == "{stem}_mask.tif"
        assert data_of(draft)["scenes"] == ["east.tif", "west.tif"]


def test_one_label_raster_among_scenes(make_scene: MakeScene, tmp_path: Path) -> None:
    stripes = np.resize(np.repeat(np.array([1, 2], np.uint8), 4), (SIDE, SIDE))
    for name in ("a", "b"):
        make_scene(tmp_path / f"{name}.tif", values(), descriptions=COLOURS)
    make_scene(tmp_path / "old.tif", stripes)
    labels = boxes(tmp_path, [{"class": "ab"[i % 2]} for i in range(8, 48)])
    draft = library.init(tmp_path, labels=labels)
    assert data_of(draft)["scenes"] == ["a.tif", "b.tif"]
    assert "left out, since they are labels: old.tif" in draft.text


@pytest.mark.parametrize(
    ("file", "count", "dtype", "descriptions", "expected"),
    [
        ("olinda_l7/scene.tif", 6, "uint8", (), {"sensor": "landsat_etm"}),
        ("a/LC09_L2SP.tif", 7, "uint16", [f"B{i}" for i in range(1, 8)], {"sensor": "landsat_oli"}),
        ("a/T33TWM_2021.tif", 4, "uint16", (), {"sensor": "sentinel2_l2a"}),
        ("a/x.tif", 5, "uint16", (), {"bands": [f"layer_{i}" for i in range(1, 6)]}),
        ("a/x.tif", 3, "uint8", ("red", "green", "blue"), {}),
    ],
)
def test_bands_are_guessed_from_names_and_sizes(
    make_scene: MakeScene, tmp_path: Path, file: str, count: int, dtype: str,
    descriptions: Sequence[str], expected: dict[str, Any],
) -> None:  # fmt: skip
    landsat = "l7" in file or "LC09" in file
    place = SOME_PLACE * SOME_PLACE.scale(3 if landsat else 1)
    image = values(count, dtype, 200)
    path = make_scene(tmp_path / file, image, descriptions=descriptions, transform=place)
    stripes = np.resize(np.repeat(np.array([1, 2], np.uint8), 4), (SIDE, SIDE))
    labels = make_scene(tmp_path / "l.tif", stripes, transform=place)
    draft = library.init(path, labels=labels)
    for key, value in expected.items():
        assert data_of(draft)[key] == value
    assert ("bands" in data_of(draft) or "sensor" in data_of(draft)) == bool(expected)


def _text_file(path: Path) -> Path:
    path.write_text("x,y,class\n", encoding="utf-8")
    return path


def test_what_cannot_be_guessed_is_one_line(
    rsmeta: Rsmeta, scene: Path, make_scene: MakeScene, tmp_path: Path
) -> None:
    heights = np.linspace(0, 9, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    cases = {
        "data.target": make_scene(tmp_path / "heights.tif", heights),
        "two or more": make_scene(tmp_path / "one.tif", np.ones((SIDE, SIDE), np.uint8)),
        "add one with the class": boxes(tmp_path, [{"n": 1}, {"n": 1}]),
        "class is 'a' everywhere": boxes(tmp_path, [{"class": "a"}] * 9, "single.gpkg"),
        "or polygons or points as GeoPackage": _text_file(tmp_path / "points.csv"),
        "is it complete?": _text_file(tmp_path / "broken.gpkg"),
        "is not on this machine": "https://example.org/labels.gpkg",
        "renumber them": make_scene(tmp_path / "large.tif", np.eye(SIDE, dtype=np.uint32) * 70_000),
        "check the path": tmp_path / "none.gpkg",
    }
    for said, labels in cases.items():
        ended = rsmeta("init", scene, labels, "--output", tmp_path / "c.yaml")
        assert (ended.status, said in ended.err) == (1, True), ended.err
        assert len(ended.err.strip().splitlines()) == 1
    swapped = rsmeta("init", boxes(tmp_path, [{"n": 1}]), scene)
    assert (swapped.status, "name the scenes first" in swapped.err) == (1, True)
    alone = rsmeta("init", scene)
    assert (alone.status, "polygons" in alone.err) == (1, True)
    assert not (tmp_path / "c.yaml").exists()


def test_points_label_the_pixels_that_they_lie_in(
    rsmeta: Rsmeta, scene: Path, tmp_path: Path
) -> None:
    """Points are labels like polygons, alone or beside them; lines are none."""
    path = boxes(tmp_path, [{"class": ("a", "b")[i % 2]} for i in range(20)])
    frame = geopandas.read_file(path)
    assert "20 polygons on" in library.init(scene, labels=path).text
    mixed, points = frame.copy(), frame.copy()
    points.geometry = frame.centroid
    mixed.geometry = [one.centroid if i % 4 > 1 else one for i, one in enumerate(frame.geometry)]
    pixels = {}
    for name, one in (("points", points), ("mixed", mixed)):
        one.to_crs("EPSG:4326").to_file(tmp_path / f"{name}.gpkg")
        text = library.init(scene, labels=tmp_path / f"{name}.gpkg").text
        pixels[name] = re.findall(r"# 10 (points|polygons), (\d+) px", text)
    # eight of the twenty lie where the scene has no data
    assert pixels == {
        "points": [("points", "6"), ("points", "6")],
        "mixed": [("polygons", str(3 * 36 + 3)), ("polygons", str(3 * 36 + 3))],
    }
    ended = rsmeta("train", f"scenes={scene}", f"labels={tmp_path / 'points.gpkg'}",
                   "model=pixels", "model.head.trees=5", "--output", tmp_path / "run")  # fmt: skip
    assert ended.status == 0, ended.err
    lines = frame.set_geometry(frame.boundary)
    lines.to_file(tmp_path / "lines.gpkg")
    with pytest.raises(LabelsError, match="no polygons or points; give polygons or points"):
        library.init(scene, labels=tmp_path / "lines.gpkg")


def test_a_column_of_yes_and_no_is_two_classes(scene: Path, tmp_path: Path) -> None:
    labels = boxes(tmp_path, [{"n": i, "water": i % 3 == 0} for i in range(20)])
    draft = library.init(scene, labels=labels)
    names = {one["value"]: one["name"] for one in data_of(draft)["classes"]}
    assert names == {0: "no water", 1: "water"}
    counts = [one for one in draft.text.splitlines() if "polygons, " in one]
    assert ["13 polygons" in counts[0], "7 polygons" in counts[1]] == [True, True]


def test_doubtful_names_of_classes_are_to_be_checked(scene: Path, tmp_path: Path) -> None:
    rows = [{"kind": ("wood", "Wood", "sea")[i % 3], "no": f"p{i}"} for i in range(30)]
    text = library.init(scene, labels=boxes(tmp_path, rows)).text
    assert "CHECK: Wood and wood are two classes" in text
    each = boxes(tmp_path, [{"plot": f"p{i}"} for i in range(30)], "each.gpkg")
    assert "CHECK: another one in each row" in library.init(scene, labels=each).text


def test_a_band_without_data_is_named(make_scene: MakeScene, tmp_path: Path) -> None:
    image = values().astype(np.float32)
    image[2] = np.nan
    scene = make_scene(tmp_path / "s.tif", image, descriptions=COLOURS)
    labels = boxes(tmp_path, [{"class": ("a", "b")[i % 2]} for i in range(20)])
    with pytest.raises(SplitError, match=r"s.tif: no labelled pixel has data in red.*use_bands"):
        library.init(scene, labels=labels)


@pytest.mark.parametrize("kind", ["polygons", "raster"])
def test_scenes_that_no_label_lies_on_are_left_out(
    make_scene: MakeScene, scene: Path, tmp_path: Path, kind: str
) -> None:
    """One label file that covers one of three scenes, one of them in another zone."""
    far = SOME_PLACE * Affine.translation(5 * SIDE, 0)
    for name, place, crs in (("east", far, "EPSG:32633"), ("zone", SOME_PLACE, "EPSG:32634")):
        make_scene(tmp_path / f"{name}.tif", values(), descriptions=COLOURS, transform=place,
                   crs=crs)  # fmt: skip
    squares = np.kron(np.arange(64).reshape(8, 8) % 3 + 1, np.ones((8, 8), int)).astype(np.uint8)
    labels = (
        make_scene(tmp_path / "labels.tif", squares)
        if kind == "raster"
        else boxes(tmp_path, [{"class": "ab"[i % 2]} for i in range(48)])
    )
    names = ["east.tif", "scene.tif", "zone.tif"]
    draft = library.init(*(tmp_path / name for name in names), labels=labels)
    assert data_of(draft)["scenes"] == ["scene.tif"]
    assert "no label lies on them: east.tif, zone.tif" in " ".join(
        draft.text.replace("#", "").split()
    )
    assert draft.scene == str(scene)
    with pytest.raises(LabelsError, match="do not overlap"):
        library.init(tmp_path / "east.tif", tmp_path / "zone.tif", labels=labels)


def test_a_scene_that_is_given_twice_counts_once(scene: Path, tmp_path: Path) -> None:
    labels = boxes(tmp_path, [{"class": "ab"[i % 2]} for i in range(48)])
    assert data_of(library.init(scene, scene, labels=labels))["scenes"] == ["scene.tif"]


@pytest.mark.parametrize("numbers", [(65534, 65535), (100_000, 700_000), (0, 2**40)])
def test_numbers_too_large_for_a_map_become_names(
    scene: Path, tmp_path: Path, numbers: tuple[int, int]
) -> None:
    draft = library.init(scene, labels=boxes(tmp_path, [{"class": numbers[i % 2]}
                                                        for i in range(48)]))  # fmt: skip
    entries = [(one["value"], one["name"]) for one in data_of(draft)["classes"]]
    assert entries == [(i, str(number)) for i, number in enumerate(numbers)]
    assert "CHECK" in draft.text
    assert all("px" in line for line in draft.text.splitlines() if "name:" in line)


def test_names_that_no_class_can_have_are_one_line(scene: Path, tmp_path: Path) -> None:
    labels = boxes(tmp_path, [{"class": ("a", "b\tc")[i % 2]} for i in range(48)])
    with pytest.raises(ConfigError, match=r"p\.gpkg: .*unprintable"):
        library.init(scene, labels=labels)


@pytest.mark.parametrize(
    ("mean", "says"),
    [
        (-14.0, "radar in decibels, by its mean; if it shows speckle, lee filters it"),
        (0.1, "linear backscatter, by its mean; if it shows speckle, {filter: lee, unit: linear}"),
        (300.0, "radar in digital numbers, by its mean"),
    ],
)
def test_what_radar_is_in_is_said(
    make_scene: MakeScene, tmp_path: Path, mean: float, says: str
) -> None:
    image = (mean + values()[:2].astype(np.float32) * 1e-6).astype(np.float32)
    scene = make_scene(tmp_path / "s.tif", image, descriptions=("Gamma0_VV", "Gamma0_VH"))
    labels = boxes(tmp_path, [{"class": ("a", "b")[i % 2]} for i in range(20)])
    text = " ".join(library.init(scene, labels=labels).text.replace("#", " ").split())
    assert says in text


def test_polygons_elsewhere(scene: Path, tmp_path: Path) -> None:
    far = geopandas.GeoDataFrame(
        {"class": ["a", "b"]}, geometry=[shapely.box(i, 0, i + 1, 1) for i in (0, 5)],
        crs="EPSG:4326",
    )  # fmt: skip
    far.to_file(tmp_path / "far.gpkg")
    with pytest.raises(LabelsError, match="do not overlap"):
        library.init(scene, labels=tmp_path / "far.gpkg")


@pytest.mark.parametrize("value", ["a: b", "#x", "no", "1e5", "ä ö", "'", "x" * 200, [1, 2], -0.5])
def test_any_value_is_written_so_that_it_is_read_back(value: Any) -> None:
    why = 'seen: # and "quotes", ' + "long " * 40
    lines = section_lines("data", [Guess("k", value, why), Guess("only", why=why)])
    assert yaml.safe_load("\n".join(lines)) == {"data": {"k": value}}
    assert max(map(len, lines)) < 230


def test_a_mistyped_command_is_suggested(rsmeta: Rsmeta) -> None:
    ended = rsmeta("inspct", "x")
    assert (ended.status, "did you mean 'inspect'?" in ended.err) == (2, True)


@pytest.mark.parametrize("folder", ["beaufort_s2", "slovenia_s2", "cloudmask"])
def test_real_data(shared_data: Path, folder: str) -> None:
    there = shared_data / folder
    scenes, labels = {
        "beaufort_s2": (there / "scene.tif", there / "training_polygons.gpkg"),
        "slovenia_s2": (there / "scene_[12].tif", there / "landcover.gpkg"),
        "cloudmask": (there / "landsat*.tif", there / "{stem}_mask.tif"),
    }[folder]
    data = data_of(library.init(scenes, labels=labels))
    assert data.get("nodata") == (255 if folder == "beaufort_s2" else None)
    column = {"beaufort_s2": "Classname", "slovenia_s2": "LULC_NAME", "cloudmask": None}[folder]
    assert data.get("class_column") == column
    assert len(data["classes"]) == {"beaufort_s2": 6, "slovenia_s2": 5, "cloudmask": 3}[folder]
