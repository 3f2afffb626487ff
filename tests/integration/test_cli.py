"""The whole way on the command line: train, predict, evaluate, inspect, list."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate

from rsmeta.bundle import load_bundle
from rsmeta.config import load_settings
from rsmeta.workflows.listing import KINDS, listing
from tests.stac_items import check_item

if TYPE_CHECKING:
    from tests.integration.conftest import Rsmeta, TinyRun


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        pixels: np.ndarray = raster.read()
    return pixels


@pytest.fixture
def mapped(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> Path:
    """Folder with map, probabilities and confidence of the western scene."""
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "map.tif",
        "--probabilities", tmp_path / "shares.tif", "--confidence", tmp_path / "sure.tif",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert "bare" in ended.out
    return tmp_path


# -- train -----------------------------------------------------------------------------------


def test_run_folder_holds_what_is_promised(tiny_run: TinyRun) -> None:
    for name in (
        "bundle/bundle.yaml", "bundle/weights.safetensors", "bundle/quicklook.png",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.json", "history.csv",
        "config.yaml", "plots/curves.png", "plots/confusion.png", "plots/chips.png",
    ):  # fmt: skip
        assert (tiny_run.folder / name).stat().st_size > 0, name
    assert list((tiny_run.folder / "tensorboard").glob("events.*"))
    hidden = list(tiny_run.folder.rglob(".*"))
    assert not hidden, "something unfinished is left"


def test_numbers_of_a_run(tiny_run: TinyRun) -> None:
    metrics = json.loads((tiny_run.folder / "metrics.json").read_text())
    assert metrics["epochs"] == 2
    assert metrics["steps"] == 8
    assert metrics["bands"] == ["green", "red", "nir"]
    for part in ("validation", "test"):
        assert 0.8 < metrics[part]["accuracy"] <= 1
        assert set(metrics[part]["classes"]) == {"bare", "meadow"}
        assert np.sum(metrics[part]["confusion"]) == metrics[part]["pixels"]
    with (tiny_run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["step"] for row in rows] == ["4", "8"]
    assert all(np.isfinite(float(cell)) for row in rows for cell in row.values())


def test_resolved_configuration_loads_back(tiny_run: TinyRun) -> None:
    resolved = load_settings(tiny_run.folder / "config.yaml")
    assert resolved == load_settings(tiny_run.config, [f"data.root={tiny_run.data}"])


def test_resume_goes_on_with_the_same_run(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    before = (run / "history.csv").read_text()
    ended = rsmeta(
        "train", tiny_run.config, f"data.root={tiny_run.data}", "trainer.max_epochs=3",
        "--output", run, "--resume",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    after = (run / "history.csv").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    assert json.loads((run / "metrics.json").read_text())["steps"] == 12


def test_resume_of_nothing_is_a_start(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    ended = rsmeta(
        "train", tiny_run.config, f"data.root={tiny_run.data}", "trainer.max_epochs=1",
        "--output", tmp_path / "run", "--resume",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert "nothing to resume" in ended.err
    assert f"--model {tmp_path / 'run' / 'bundle'}" in ended.out


def test_the_bundle_describes_its_model_to_catalogues(
    tiny_run: TinyRun, stac_schemas: Path
) -> None:
    record = load_bundle(tiny_run.bundle).record
    whole = check_item(tiny_run.bundle / "mlm.json", stac_schemas)
    with rasterio.open(tiny_run.scene) as west, rasterio.open(tiny_run.data / "east.tif") as east:
        sides = [transform_bounds(one.crs, "EPSG:4326", *one.bounds) for one in (west, east)]
    ground = shapely.from_geojson(json.dumps(whole["geometry"]))
    assert shapely.get_num_geometries(ground) == 2
    assert ground.bounds == pytest.approx(
        (sides[0][0], min(s[1] for s in sides), sides[1][2], max(s[3] for s in sides)), abs=1e-5
    )
    assert whole["bbox"] == pytest.approx(ground.bounds)
    item = whole["properties"]
    assert item["mlm:tasks"] == ["semantic-segmentation"]
    (given,), (made,) = item["mlm:input"], item["mlm:output"]
    assert given["bands"] == ["green", "red", "nir"]
    assert given["input"]["shape"] == [-1, 3, 32, 32]
    assert [one["mean"] for one in given["value_scaling"]] == [b.mean for b in record.bands]
    assert made["result"]["shape"] == [-1, 2, 32, 32]
    assert [entry["description"] for entry in made["classification:classes"]] == ["bare", "meadow"]
    assert item["mlm:total_parameters"] == record.training["parameters"]


def test_the_items_of_map_and_model_lead_to_one_another(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, stac_schemas: Path
) -> None:
    ended = rsmeta(
        "predict", tiny_run.data / "[ew]*st.tif", "--model", tiny_run.bundle,
        "--output", tmp_path / "maps", "--stac", tmp_path / "items",
        "--quicklook", tmp_path / "maps", "--entropy", tmp_path / "unsure",
        "--probabilities-type", "uint8",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    for name in ("west", "east"):
        item = check_item(tmp_path / "items" / f"{name}_map.json", stac_schemas)
        scene, model = (tmp_path / "items" / link["href"] for link in item["links"])
        assert scene.resolve() == (tiny_run.data / f"{name}.tif").resolve()
        assert model.resolve() == (tiny_run.bundle / "mlm.json").resolve()
        assert {asset["href"] for asset in item["assets"].values()} == {
            f"../maps/{name}_map.tif", f"../maps/{name}_map.png", f"../unsure/{name}_entropy.tif",
        }  # fmt: skip


# -- predict ---------------------------------------------------------------------------------


def test_map_lies_on_the_scenes_grid_and_explains_itself(tiny_run: TinyRun, mapped: Path) -> None:
    record = load_bundle(tiny_run.bundle).record
    with rasterio.open(tiny_run.scene) as scene, rasterio.open(mapped / "map.tif") as raster:
        assert (raster.crs, raster.transform, raster.shape) == (
            scene.crs, scene.transform, scene.shape,
        )  # fmt: skip
        assert raster.dtypes == ("uint8",)
        assert raster.nodata == 255
        colours = raster.colormap(1)
        tags = raster.tags()
        assert raster.descriptions == ("class",)
        assert (raster.read(1) == 255).sum() == 6 * 9
        assert (raster.read(1)[:6, :9] == 255).all()
    for spec in record.classes:
        assert colours[spec.value] == (*spec.rgb, 255)
    assert colours[255][3] == 0
    named = {entry["value"]: entry["name"] for entry in json.loads(tags["RSMETA_CLASSES"])}
    assert named == {1: "bare", 2: "meadow"}
    assert tags["RSMETA_MODEL_SHA256"] == record.weights_sha256
    assert tags["RSMETA_SOURCE"] == "west.tif"
    assert tags["TIFFTAG_SOFTWARE"].startswith("rsmeta ")


def test_every_raster_is_a_strict_cog(mapped: Path) -> None:
    for name in ("map.tif", "shares.tif", "sure.tif"):
        valid, errors, warnings = cog_validate(mapped / name, strict=True)
        assert valid, (name, errors, warnings)
    assert sorted(p.name for p in mapped.iterdir()) == [
        "map.qml", "map.sld", "map.tif", "map.tif.aux.xml", "shares.qml", "shares.sld",
        "shares.tif", "sure.qml", "sure.sld", "sure.tif",
    ]  # fmt: skip


def test_probabilities_and_confidence_agree_with_the_map(mapped: Path) -> None:
    (classes,), shares, (sure,) = (read(mapped / n) for n in ("map.tif", "shares.tif", "sure.tif"))
    known = classes != 255
    with rasterio.open(mapped / "shares.tif") as raster:
        assert raster.descriptions == ("bare", "meadow")
        assert raster.dtypes == ("float32", "float32")
        assert np.isnan(raster.nodata)
    assert np.isnan(shares[:, ~known]).all()
    assert np.isnan(sure[~known]).all()
    assert np.allclose(shares[:, known].sum(axis=0), 1, atol=1e-5)
    assert (sure[known] == shares[:, known].max(axis=0)).all()
    assert (classes[known] == 1 + shares[:, known].argmax(axis=0)).all()


def test_map_is_mostly_right(tiny_run: TinyRun, mapped: Path) -> None:
    classes, labels = read(mapped / "map.tif"), read(tiny_run.labels)
    assert (classes == labels)[classes != 255].mean() > 0.9


def test_predict_needs_bundle_and_scene_only_and_repeats_itself(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The bundle is moved away from its run; the scene lies somewhere else too."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(tiny_run.bundle, elsewhere / "model")
    (elsewhere / "model" / "quicklook.png").unlink()
    shutil.copyfile(tiny_run.scene, elsewhere / "renamed.tif")
    ended = rsmeta(
        "predict", elsewhere / "renamed.tif", "--model", elsewhere / "model",
        "--output", elsewhere / "m.tif", "--probabilities", elsewhere / "p.tif", "--device", "cpu",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert (read(elsewhere / "m.tif") == read(mapped / "map.tif")).all()
    assert np.array_equal(read(elsewhere / "p.tif"), read(mapped / "shares.tif"), equal_nan=True)


def test_bundle_names_no_place_of_this_machine(tiny_run: TinyRun) -> None:
    text = (tiny_run.bundle / "bundle.yaml").read_text()
    assert str(tiny_run.data) not in text
    assert str(Path.home()) not in text


def test_bands_in_another_order_give_the_same_map(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path
) -> None:
    with rasterio.open(tiny_run.scene) as scene:
        profile, pixels, names = scene.profile, scene.read(), scene.descriptions
    with rasterio.open(mapped / "turned.tif", "w", **profile) as file:
        file.write(pixels[::-1])
        file.descriptions = names[::-1]
    ended = rsmeta(
        "predict", mapped / "turned.tif", "--model", tiny_run.bundle, "--output",
        mapped / "again.tif",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert (read(mapped / "again.tif") == read(mapped / "map.tif")).all()


def test_many_scenes_go_into_a_folder(rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path) -> None:
    ended = rsmeta(
        "--quiet", "predict", tiny_run.data / "[ew]*st.tif", "--model", tiny_run.bundle,
        "--output", mapped / "maps",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert not ended.err
    assert len(ended.out.splitlines()) == 2
    names = sorted(path.name for path in (mapped / "maps").glob("*.tif"))
    assert names == ["east_map.tif", "west_map.tif"]
    assert (read(mapped / "maps" / "west_map.tif") == read(mapped / "map.tif")).all()


def test_one_scene_into_a_folder(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "maps"
    )
    assert ended.status == 0, ended.err
    assert (tmp_path / "maps" / "west_map.tif").is_file()


def test_bounds_map_a_part(rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path) -> None:
    with rasterio.open(mapped / "map.tif") as raster:
        west, south, east, north = rasterio.warp.transform_bounds(
            raster.crs, "EPSG:4326", 500_200, 5_149_500, 500_500, 5_149_700
        )
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", mapped / "part.tif",
        "--bounds", west, south, east, north,
    )  # fmt: skip
    assert ended.status == 0, ended.err
    with rasterio.open(mapped / "map.tif") as whole, rasterio.open(mapped / "part.tif") as part:
        window = rasterio.windows.from_bounds(*part.bounds, whole.transform).round_offsets()
        assert (whole.read(1, window=window) == part.read(1)).all()
        assert 20 <= part.height <= 22
        assert 30 <= part.width <= 32


# -- evaluate --------------------------------------------------------------------------------


def test_evaluate_a_model_gives_the_numbers_of_the_run(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    words = ("evaluate", "--model", tiny_run.bundle, tiny_run.config, f"data.root={tiny_run.data}")
    ended = rsmeta(*words, "--json")
    assert ended.status == 0, ended.err
    told = json.loads((tiny_run.folder / "metrics.json").read_text())["test"]
    assert json.loads(ended.out)["confusion"] == told["confusion"]
    ended = rsmeta(*words)
    assert ended.out.startswith("accuracy ")
    assert "meadow" in ended.out


def test_evaluate_a_map(rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path) -> None:
    ended = rsmeta(
        "evaluate", "--map", mapped / "map.tif", "--reference", tiny_run.labels, "--json"
    )
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    classes, labels = read(mapped / "map.tif"), read(tiny_run.labels)
    known = classes != 255
    assert result["pixels"] == known.sum()
    assert result["accuracy"] == pytest.approx((classes == labels)[known].mean())


# -- inspect and list ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("data/west.tif", "scene"), ("run/bundle", "bundle"), ("run", "run"),
        ("run/config.yaml", "configuration"), ("run/checkpoints/last.ckpt", "checkpoint"),
        ("run/bundle/weights.safetensors", "weights of a bundle"),
    ],
)  # fmt: skip
def test_inspect(rsmeta: Rsmeta, tiny_run: TinyRun, what: str, kind: str) -> None:
    place = tiny_run.folder.parent / what
    ended = rsmeta("inspect", place, "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert found["kind"] == kind
    ended = rsmeta("inspect", place)
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f"kind: {kind}\n")


def test_a_dry_run_tells_what_would_learn_and_writes_nothing(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    tuner = "tuner=[{preset: lora, rank: 2, sites: {'1.q': {rank: 4, lr_scale: 0.1}}}, ln]"
    ended = rsmeta(
        "train", tiny_run.config, f"data.root={tiny_run.data}", tuner, "--dry-run",
        "--output", tmp_path / "none",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert not (tmp_path / "none").exists()
    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0] == ["site", "method", "rank", "parameters", "rate"]
    assert ["0.q", "lora", "2", "128", "0.003"] in rows
    assert ["1.q", "lora", "4", "256", "0.0003"] in rows
    assert ["0-1.v", "lora", "2", "256", "0.003"] in rows
    assert ["0-1.norm1", "ln", "128", "0.003"] in rows
    assert "nothing was trained or written" in ended.out
    assert rsmeta("train", tiny_run.config).status == 2  # without --dry-run a place is needed


def test_inspect_a_configuration_tells_what_would_learn(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    found = json.loads(rsmeta("inspect", tiny_run.folder / "config.yaml", "--json").out)
    assert [row["site"] for row in found["learns"]] == ["stem", "all", "head"]
    assert rsmeta("inspect", tiny_run.folder / "config.yaml").out.splitlines()[-4].split() == [
        "site", "method", "rank", "parameters", "rate"
    ]  # fmt: skip
    elsewhere = tmp_path / "config.yaml"
    elsewhere.write_text(tiny_run.config.read_text())
    ended = rsmeta("inspect", elsewhere)
    assert ended.status == 0
    assert "trainable: unknown: no scene" in ended.out


def test_inspect_a_scene_tells_bands_and_place(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    found = json.loads(rsmeta("inspect", tiny_run.scene, "--json").out)
    assert [band["name"] for band in found["bands"]] == ["green", "red", "nir"]
    assert [band["nodata"] for band in found["bands"]] == [0, 0, 0]
    assert (found["width_px"], found["height_px"], found["gsd_m"]) == (96, 96, 10)
    assert found["crs"] == "EPSG:32633"
    assert 14 < found["bounds_lonlat"][0] < 16


@pytest.mark.parametrize("kind", KINDS)
def test_list(rsmeta: Rsmeta, kind: str) -> None:
    ended = rsmeta("list", kind)
    assert ended.status == 0, ended.err
    names = [name for name, _ in listing(kind)]
    lines = ended.out.splitlines()
    assert names
    assert len(lines) == len(names)
    assert all(line.startswith(name) for line, name in zip(lines, names, strict=True))


def test_every_command_has_help(rsmeta: Rsmeta) -> None:
    commands = [
        "train",
        "pretrain",
        "predict",
        "evaluate",
        "report",
        "inspect",
        "export",
        "list",
        "demo",
        "init",
        "doctor",
        "suggest",
        "qgis",
        "help",
    ]
    for words in ([], *([command] for command in commands)):
        ended = rsmeta(*words, "--help")
        assert ended.status == 0, ended.err
        assert ended.out.startswith(" ".join(["Usage: rsmeta", *words]))
        assert "\\b" not in ended.out  # click's mark of lines to leave as they are


def test_help_of_train_fits_a_screen_and_leads_to_every_key(rsmeta: Rsmeta) -> None:
    ended = rsmeta("train", "--help")
    assert len(ended.out.splitlines()) <= 40
    for section in ("data", "model", "tuner", "meta", "loss", "trainer", "predict"):
        assert f"\n  {section} " in ended.out
        keys = rsmeta("help", "train", section)
        assert (keys.status, keys.out.startswith(f"{section} keys:\n")) == (0, True)
        assert f"  {section}." in keys.out
    assert "rsmeta help data." in ended.out
    every = rsmeta("help", "all").out
    for key in ("seed", "data.chip_px", "data.split.by", "tuner.rank", "trainer.optimizer.lr"):
        assert key in every


def test_help_of_a_key_a_command_or_neither(rsmeta: Rsmeta) -> None:
    assert rsmeta("help").out == rsmeta("--help").out
    assert rsmeta("help", "evaluate").out == rsmeta("evaluate", "--help").out
    predict = rsmeta("help", "predict").out  # a command and a section
    assert predict.startswith(rsmeta("predict", "--help").out)
    assert "rsmeta help train predict" in predict
    assert rsmeta("help", "data").out == rsmeta("help", "train", "data").out
    one = rsmeta("help", "data.chip_px").out.splitlines()
    assert (one[0], "data.chip_px [64]" in one[1]) == ("data keys:", True)
    assert all("chip_px" in line or line.endswith("keys:") or not line for line in one)
    assert "data.split.by" in rsmeta("help", "data.split").out
    begun = rsmeta("help", "data.chip").out
    assert ("data.chip_px" in begun, "data.chips_per_epoch" in begun) == (True, True)
    assert rsmeta("help", "top").out == rsmeta("help", "train", "top").out
    for wrong, near in (
        ("dta", "'data'"),
        ("data.chipx", "'data.chip_px'"),
        ("predct", "'predict'"),
    ):
        ended = rsmeta("help", wrong)
        assert (ended.status, f"did you mean {near}?" in ended.complaint) == (1, True)


def test_shells_complete_commands_and_options(
    rsmeta: Rsmeta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_RSMETA_COMPLETE", "bash_complete")
    for words, position, expected in (("rsmeta ins", 1, "inspect"), ("rsmeta init --o", 2, "--o")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(position))
        ended = rsmeta()
        assert (ended.status, f"plain,{expected}" in ended.out) == (0, True), ended


def test_version(rsmeta: Rsmeta) -> None:
    ended = rsmeta("--version")
    assert ended.status == 0
    assert ended.out.startswith("rsmeta, version ")


def test_bundle_is_plain_yaml(tiny_run: TinyRun) -> None:
    tree = yaml.safe_load((tiny_run.bundle / "bundle.yaml").read_text())
    assert [band["name"] for band in tree["bands"]] == ["green", "red", "nir"]
    assert tree["format"] == 3
    assert tree["gsd_m"] == [10.0, 10.0]
    assert tree["tile_px"] == 32


def test_details_are_logged_on_request(
    rsmeta: Rsmeta, tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoken(path: str) -> dict[str, str]:
        logger = logging.getLogger("rsmeta.workflows.inspect")
        logger.debug("a detail")
        logger.info("a fact")
        return {"kind": path}

    monkeypatch.setattr("rsmeta.workflows.inspect.inspect", spoken)
    for words, said in (
        (("inspect", "x"), ["a fact"]), (("inspect", "x", "--verbose"), ["a detail", "a fact"]),
        (("--quiet", "inspect", "x"), []),
    ):  # fmt: skip
        ended = rsmeta(*words)
        assert (ended.status, ended.err.splitlines()) == (0, said)
    assert rsmeta("--quiet", "--verbose", "inspect", "x").status == 2
