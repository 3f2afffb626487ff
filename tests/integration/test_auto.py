"""``model: auto``: candidates are compared on held-out polygons, and one becomes the bundle."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
import yaml
from safetensors.torch import save_file

import rsmeta
from rsmeta.config.load import load_settings
from rsmeta.config.model import ModelSpec
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.labelled_places import labelled_places
from rsmeta.errors import ConfigError, ExportError
from rsmeta.geo.bands import Band
from rsmeta.models.timm.build import build_timm
from rsmeta.training.auto import candidates, duel
from rsmeta.workflows.auto import without_candidates

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

SIDE = 96
BANDS = ("red", "nir", "swir16")
TINY = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare two candidates only, which takes no time."""
    two = (candidates.TRIED[1], candidates.TRIED[3])
    monkeypatch.setattr(candidates, "TRIED", two)
    monkeypatch.setattr(candidates, "USUAL", two)


def configuration(
    folder: Path, make_scene: MakeScene, *, polygons: int = 6, **keys: Any
) -> dict[str, Any]:
    """Two classes by their ratio of bands, in polygons of 8 x 8 pixels: so many of each class."""
    draw = np.random.default_rng(0)
    right = np.arange(SIDE)[None, :] >= SIDE // 2
    light = draw.uniform(500, 3000, (SIDE, SIDE))
    scene = np.stack([light, light * np.where(right, 1.4, 1.1), light * 0.7]) + draw.normal(
        0, 25, (3, SIDE, SIDE)
    )
    make_scene(folder / "scene.tif", scene.clip(1).astype(np.uint16), descriptions=BANDS, nodata=0)
    boxes, kinds = [], []
    for number in range(2 * polygons):
        x, y = 500_000 + 480 * (number % 2) + 200, 5_150_000 - 150 * (number // 2) - 20
        boxes.append(shapely.box(x, y - 80, x + 80, y))
        kinds.append(("left", "right")[number % 2])
    frame = geopandas.GeoDataFrame({"kind": kinds}, geometry=boxes, crs="EPSG:32633")
    frame.to_file(folder / "labels.gpkg")
    return {
        "data": {"root": str(folder), "scenes": "scene.tif", "labels": "labels.gpkg",
                 "classes": ["left", "right"], "chip_px": 16, "scale": 1e-4},
        "trainer": {"baseline": False},
        **keys,
    }  # fmt: skip


def whole(bundle: rsmeta.ModelBundle, scene: Path) -> np.ndarray:
    """Probabilities (K, H, W) of the whole scene at once."""
    with rasterio.open(scene) as file:
        raw = torch.from_numpy(file.read().astype(np.float32))[None]
    with torch.inference_mode():
        found: np.ndarray = bundle.network(raw * 1e-4, (raw > 0).all(1)).softmax(1)[0].numpy()
    return found


def mapped(bundle: rsmeta.ModelBundle, folder: Path) -> np.ndarray:
    """The same from the engine, in small tiles and blocks."""
    products = rsmeta.Products(folder / "map.tif", probabilities=folder / "p.tif")
    rsmeta.predict(
        folder / "scene.tif", bundle, output=products, execution="cpu",
        settings=["block_px=32", "batch_size=3"],
    )  # fmt: skip
    with rasterio.open(folder / "p.tif") as file:
        found: np.ndarray = file.read()
    return found


@pytest.mark.usefixtures("few")
def test_without_a_model_the_best_of_several_is_chosen_trained_and_mapped(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(tmp_path, make_scene)
    with caplog.at_level(logging.INFO, "rsmeta"):
        result = rsmeta.train(config, output=tmp_path / "run")
    selection = json.loads((tmp_path / "run" / "metrics.json").read_text())["selection"]
    names = [row["name"] for row in selection["candidates"]]
    assert selection["chosen"] in names
    assert (selection["groups"], selection["repeats"]) == (12, 1)  # too few to depart from
    scores = [row["macro_f1"] for row in selection["candidates"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.95
    assert any(row.message.startswith("chosen: ") for row in caplog.records)
    assert len(names) == 3  # both, and their average
    assert any(names[-1] in row.message for row in caplog.records)  # the table is logged
    page = rsmeta.report(tmp_path / "run", output=tmp_path / "page.html").read_text()
    assert all(name in page for name in names)
    assert f"Chosen: {selection['chosen']}, since" in page
    bundle = rsmeta.load_bundle(tmp_path / "run" / "bundle")
    assert bundle.record.model.backbone in ("pixels", "average")
    assert result.metrics["validation"]["macro_f1"] > 0.95
    np.testing.assert_allclose(
        mapped(bundle, tmp_path), whole(bundle, tmp_path / "scene.tif"), atol=1e-5
    )


def test_an_average_is_one_network_with_the_mean_of_its_members(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    members = [
        {"backbone": "pixels", "head": {"name": "forest", "trees": 5}, "options": {"context": [5]}},
        {"backbone": "pixels", "head": "lda", "options": {"ratios": True}},
    ]
    config = configuration(tmp_path, make_scene, predict={"tile_px": 32})
    result = rsmeta.train(config | {"model": {"average": members}}, output=tmp_path / "run")
    alone = [
        rsmeta.train(config | {"model": one}, output=tmp_path / f"run{i}").bundle
        for i, one in enumerate(members)
    ]
    expected = np.mean([whole(one, tmp_path / "scene.tif") for one in alone], axis=0)
    kept = rsmeta.load_bundle(tmp_path / "run" / "bundle")
    for bundle in (result.bundle, kept):
        np.testing.assert_allclose(whole(bundle, tmp_path / "scene.tif"), expected, atol=1e-6)
    np.testing.assert_allclose(mapped(kept, tmp_path), expected, atol=1e-5)


def test_an_average_is_exported_whole_and_a_forest_not_as_onnx(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    members = [{"backbone": "pixels", "head": name} for name in ("extra_trees", "logistic")]
    config = configuration(tmp_path, make_scene, model={"average": members})
    bundle = rsmeta.train(config, output=tmp_path / "run").bundle
    rsmeta.export(bundle, tmp_path / "merged", form="merged")
    scene = tmp_path / "scene.tif"
    kept = rsmeta.load_bundle(tmp_path / "merged")
    np.testing.assert_allclose(whole(kept, scene), whole(bundle, scene), atol=1e-6)
    with pytest.raises(ExportError, match="a forest cannot be exported as ONNX"):
        rsmeta.export(bundle, tmp_path / "o.onnx", form="onnx")


def test_an_average_finds_the_weights_of_its_members_and_no_others(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    tiny = {"backbone": "vit_tiny_patch16_224", "options": TINY}
    bands = tuple(Band(name, name) for name in BANDS)
    save_file(build_timm(ModelSpec(**tiny), bands).vit.state_dict(), weights)
    member = {**tiny, "checkpoint": str(weights)}
    config = configuration(tmp_path, make_scene)
    run = rsmeta.train(
        config | {"model": {"average": ["pixels", member]}}, output=tmp_path / "run"
    ).bundle
    kept = rsmeta.load_bundle(tmp_path / "run" / "bundle")
    scene = tmp_path / "scene.tif"
    np.testing.assert_allclose(whole(kept, scene), whole(run, scene), atol=1e-6)


@pytest.mark.parametrize("polygons", [1, 2])
@pytest.mark.usefixtures("few")
def test_very_few_polygons_are_enough(make_scene: MakeScene, tmp_path: Path, polygons: int) -> None:
    config = configuration(tmp_path, make_scene, polygons=polygons)
    config["data"]["split"] = {"validation": 0}
    selection = rsmeta.train(config, output=tmp_path / "run").metrics["selection"]
    if polygons == 1:
        assert "no class has labels in two polygons" in selection["reason"]
        assert selection["candidates"] == []
    else:
        assert selection["groups"] == 4


@pytest.mark.usefixtures("few")
def test_labels_in_rasters_are_held_out_by_blocks(make_scene: MakeScene, tmp_path: Path) -> None:
    config = configuration(tmp_path, make_scene)
    labels = np.where(np.arange(SIDE)[None, :] >= SIDE // 2, 2, 1) * np.ones((SIDE, 1))
    make_scene(tmp_path / "labels.tif", labels.astype(np.uint8))
    config["data"] |= {"labels": "labels.tif", "classes": {1: "left", 2: "right"}}
    selection = rsmeta.train(config, output=tmp_path / "run").metrics["selection"]
    assert (selection["groups"] > 4, selection["repeats"]) == (True, 2)
    assert 500 < selection["pixels"] <= 2000


@pytest.mark.usefixtures("few")
def test_resuming_keeps_the_choice(make_scene: MakeScene, tmp_path: Path) -> None:
    config = configuration(tmp_path, make_scene)
    chosen = rsmeta.train(config, output=tmp_path / "run").metrics["selection"]
    (tmp_path / "run" / "metrics.json").unlink()
    file = tmp_path / "run" / "selection.json"
    before = file.read_bytes()
    file.write_bytes(before.replace(b'"pixels": ', b'"pixels": 1', 1))
    again = rsmeta.train(config, output=tmp_path / "run", resume=True).metrics["selection"]
    assert again["chosen"] == chosen["chosen"]
    assert again["pixels"] == int(f"1{chosen['pixels']}")  # read, not computed anew


def test_zoom_is_chosen_for_a_named_backbone(make_scene: MakeScene, tmp_path: Path) -> None:
    model = {
        "backbone": "vit_tiny_patch16_224",
        "options": TINY,
        "head": "lda",
        "zoom": "auto",
        "pretrained": False,
    }
    config = configuration(tmp_path, make_scene, model=model)
    result = rsmeta.train(config, output=tmp_path / "run")
    rows = result.metrics["selection"]["candidates"]
    assert {row["name"] for row in rows} == {"zoom 1", "zoom 2", "zoom 4"}
    assert result.bundle.record.model.zoom in (1, 2, 4)
    assert result.bundle.record.model.head.name == "lda"


@pytest.mark.usefixtures("few")
def test_a_users_candidate_is_compared_at_each_zoom(make_scene: MakeScene, tmp_path: Path) -> None:
    candidate = {"backbone": "vit_tiny_patch16_224", "options": TINY, "pretrained": False}
    config = configuration(tmp_path, make_scene, model={"candidates": [candidate]})
    names = [
        row["name"]
        for row in rsmeta.train(config, output=tmp_path / "run").metrics["selection"]["candidates"]
    ]
    wanted = "logistic regression on vit_tiny_patch16_224"
    assert {wanted, f"{wanted}, zoom 2", f"{wanted}, zoom 4"} <= set(names)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("forced", [False, True])
def test_with_time_a_network_is_adapted_and_compared(
    make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, forced: bool
) -> None:
    if forced:
        monkeypatch.setattr(duel, "RULE", replace(duel.RULE, standard_errors=-1e9, gain=-2.0))
    candidate = {
        "backbone": "vit_tiny_patch16_224",
        "options": TINY,
        "zoom": 1,
        "pretrained": False,
    }
    config = configuration(tmp_path, make_scene, model={"candidates": candidate}, tuner="full")
    config["data"] |= {"chips_per_epoch": 4, "batch_size": 2}
    config["trainer"] |= {"time": "30s", "max_epochs": 1}
    result = rsmeta.train(config, output=tmp_path / "run")
    found = result.metrics["selection"]["network"]
    assert found["adopted"] is forced  # two steps cannot beat the chosen model
    assert found["pixels"] == 128
    kept = rsmeta.load_bundle(tmp_path / "run" / "bundle")
    is_network = kept.record.model.backbone == "vit_tiny_patch16_224"
    assert is_network is forced
    assert kept.record.training["selection"]["network"]["adopted"] is forced
    assert mapped(kept, tmp_path).shape == (2, SIDE, SIDE)


def test_a_dry_run_lists_the_candidates_and_writes_nothing(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(tmp_path, make_scene)))
    before = sorted(tmp_path.iterdir())
    ended = rsmeta("train", file, "--dry-run")
    assert ended.status == 0, ended.err
    assert "logistic regression on bands + ratios" in ended.out
    assert "nothing was trained or written" in ended.out
    assert "this would take about " in ended.out
    assert sorted(tmp_path.iterdir()) == before


def test_other_tasks_get_the_pretrained_network(make_scene: MakeScene, tmp_path: Path) -> None:
    config = configuration(tmp_path, make_scene, task="regression")
    config["data"] |= {"labels": "scene.tif", "target": {"name": "biomass"}}
    del config["data"]["classes"]
    settings = without_candidates(load_settings(config))
    assert settings.model.pretrained
    assert settings.model.backbone == "satmae_vit_nano_group"
    assert settings.tuner.method == "lora"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"backbone": "auto", "pretrained": True}, "pretrained belongs to one backbone"),
        ({"backbone": "auto", "zoom": 2}, "zoom belongs to one backbone"),
        ({"backbone": "pixels", "candidates": ["pixels"]}, "candidates go with backbone=auto"),
        ({"average": ["pixels"]}, "average names one model"),
        ({"candidates": ["auto"]}, "auto cannot be nested"),
    ],
)
def test_keys_that_do_not_go_with_auto_are_refused(model: dict[str, Any], said: str) -> None:
    data = {"scenes": "s.tif", "labels": "l.tif", "classes": ["a", "b"]}
    with pytest.raises(ConfigError, match=said):
        load_settings({"data": data, "model": model})


def test_labels_are_read_once_each(make_scene: MakeScene, tmp_path: Path) -> None:
    settings = load_settings(configuration(tmp_path, make_scene))
    data = SceneDataModule(settings.scenes, seed=0)
    scenes = [one.labelled for part in ("train", "validation") for one in data.parts[part]]
    places = labelled_places(scenes, settings.scenes)
    assert len(set(zip(places.row.tolist(), places.col.tolist(), strict=True))) == len(places.row)
    assert len(places.row) == 12 * 64
    assert np.bincount(places.group).tolist() == [64] * 12
