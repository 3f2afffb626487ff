"""Scenes of many bands on the command line: by wavelength, from narrow bands to wide and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import yaml

from rsmeta.bundle import load_bundle
from rsmeta.geo.scene import open_scene
from rsmeta.geo.sensors import load_sensor
from tests.unit.tiny_generated import TINY, tiny_published, write_published

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

#: Centres of 105 narrow bands, and the classes of the labels.
CENTRES_NM = np.arange(400.0, 2500.0, 20.0)
CLASSES = {1: "soil", 2: "leaf", 3: "water"}
SIDE = 48


@pytest.fixture(scope="module")
def folder(make_scene: MakeScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow-band scene, its labels, and the same scene as six bands of Landsat."""
    place = tmp_path_factory.mktemp("many")
    labels = np.repeat(np.arange(SIDE)[:, None] // (SIDE // 3) + 1, SIDE, axis=1).astype(np.uint8)
    shapes = np.stack([
        0.1 + CENTRES_NM / 8000,
        np.where(CENTRES_NM < 700, 0.06, 0.45) - CENTRES_NM / 9000,
        0.08 - CENTRES_NM / 40_000,
    ])  # fmt: skip
    noise = np.random.default_rng(5).normal(0, 0.01, (len(CENTRES_NM), SIDE, SIDE))
    cube = (shapes[labels - 1].transpose(2, 0, 1) + noise).astype(np.float32)
    make_scene(place / "narrow.tif", cube)
    with rasterio.open(place / "narrow.tif", "r+") as file:
        for i, nm in enumerate(CENTRES_NM, 1):
            file.update_tags(i, wavelength=nm, wavelength_units="nm", fwhm=20)
    make_scene(place / "labels.tif", labels)
    six = [b for b in load_sensor("landsat_tm").bands if b.spectrum_part == "reflected"]
    narrow = open_scene(place / "narrow.tif")
    wide = narrow.select(six).read(narrow.grid.full_window)
    make_scene(place / "wide.tif", wide.data, descriptions=[b.common_name or "" for b in six])
    return place


def trained(
    folder: Path, rsmeta: Rsmeta, scene: str, name: str, *, model: Any = None,
    tuner: str = "full", **data: Any,
) -> Path:  # fmt: skip
    config = {
        "task": "segmentation",
        "data": {
            "root": str(folder), "scenes": [scene], "labels": "labels.tif", "classes": CLASSES,
            "chip_px": 16, **data,
        },
        "model": model or {"backbone": "pixels", "head": {"name": "logistic"}},
        "tuner": tuner if model else "head",
        "trainer": {"baseline": False, "max_epochs": 1, "accelerator": "cpu"},
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    ended = rsmeta("train", folder / f"{name}.yaml", "--output", folder / name)
    assert ended.status == 0, ended.err
    return folder / name / "bundle"


def mapped(folder: Path, rsmeta: Rsmeta, model: Path, scene: str, says: str = "") -> np.ndarray:
    output = folder / f"{model.parent.name}-{scene}"
    ended = rsmeta("predict", folder / scene, "--model", model, "--output", output)
    assert ended.status == 0, ended.err
    assert says in ended.err
    with rasterio.open(output) as file:
        return file.read(1)


def test_a_model_for_few_bands_maps_a_scene_of_many(folder: Path, rsmeta: Rsmeta) -> None:
    model = trained(folder, rsmeta, "wide.tif", "few")
    narrow = mapped(folder, rsmeta, model, "narrow.tif", "is the mean of 4 bands, w0620 (620 nm)")
    assert (narrow == mapped(folder, rsmeta, model, "wide.tif")).mean() > 0.99


def test_a_model_for_many_bands_refuses_few(folder: Path, rsmeta: Rsmeta) -> None:
    model = trained(folder, rsmeta, "narrow.tif", "many", skip_nm=[1340, 1460], bands="wavelengths")
    record = yaml.safe_load((model / "bundle.yaml").read_text())
    assert len(record["bands"]) == 98
    assert (record["bands"][0]["wavelength_nm"], record["bands"][0]["width_nm"]) == (400.0, 20.0)
    item = json.loads((model / "mlm.json").read_text())
    assert "400 nm, 20 nm wide" in json.dumps(item)
    output = folder / "never.tif"
    ended = rsmeta("predict", folder / "wide.tif", "--model", model, "--output", output)
    assert ended.status == 1
    assert "lacks the bands (98) w0400" in ended.err
    assert "nm wide" in ended.err
    assert ended.err.strip().count("\n") == 0
    assert not output.exists()
    with rasterio.open(folder / "labels.tif") as file:
        assert (mapped(folder, rsmeta, model, "narrow.tif") == file.read(1)).mean() > 0.95


def test_common_names_choose_from_many_bands(folder: Path, rsmeta: Rsmeta) -> None:
    model = trained(folder, rsmeta, "narrow.tif", "chosen", use_bands=["green", "red", "nir"])
    record = yaml.safe_load((model / "bundle.yaml").read_text())
    assert [band["name"] for band in record["bands"]] == ["green", "red", "nir"]
    assert (mapped(folder, rsmeta, model, "wide.tif") == mapped(
        folder, rsmeta, model, "narrow.tif")).mean() > 0.8  # fmt: skip


def test_inspect_is_short(folder: Path, rsmeta: Rsmeta) -> None:
    shown = rsmeta("inspect", folder / "narrow.tif").out
    assert len(shown.splitlines()) < 25
    assert "shortwave infrared  75" in shown
    found = json.loads(rsmeta("inspect", folder / "narrow.tif", "--json").out)
    assert len(found["bands"]) == 105
    assert found["spectrum"][0] == {
        "part": "visible", "bands": 15, "from_nm": 400.0, "to_nm": 680.0, "step_nm": 20.0,
        "largest_gap_nm": 20.0, "width_nm": 20.0, "out_of_order": None,
    }  # fmt: skip


def test_principal_components_of_the_training_travel_in_the_bundle(
    folder: Path, rsmeta: Rsmeta
) -> None:
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    network = {"options": options, "head": "linear", "stem": {"reduce": "pca", "reduce_to": 4}}
    model = trained(folder, rsmeta, "narrow.tif", "reduced", model=network, chips_per_epoch=16)
    weight = load_bundle(model).network.backbone.projection.weight[..., 0, 0].detach()
    scene = open_scene(folder / "narrow.tif")
    pixels = scene.read(scene.grid.full_window).data.reshape(105, -1)
    normal = (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True)
    components = weight.numpy() @ normal
    # Three classes of straight spectra: two components hold nearly all there is.
    assert components[:2].std(axis=1) == pytest.approx([1, 1], rel=0.2)
    assert mapped(folder, rsmeta, model, "narrow.tif").shape == (SIDE, SIDE)


def test_dofa_from_training_to_report(
    folder: Path, rsmeta: Rsmeta, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Filters of 105 bands from their wavelengths, by weights as they are published."""
    from torchgeo.models.dofa import DOFA

    file = tmp_path_factory.mktemp("dofa") / "dofa_base_patch16_224.pth"
    write_published(tiny_published(DOFA, "patch_embed", num_classes=0), file)
    network = {
        "backbone": "dofa_vit_b16", "options": TINY, "checkpoint": str(file), "head": "linear",
    }  # fmt: skip
    model = trained(
        folder, rsmeta, "narrow.tif", "dofa", model=network, tuner="lora", chips_per_epoch=16
    )
    record = yaml.safe_load((model / "bundle.yaml").read_text())
    assert [band["filter_from"] for band in record["bands"][:2]] == ["400 nm", "420 nm"]
    assert {band["statistics_of"] for band in record["bands"]} == {"data"}
    assert record["backbone"]["licence"] == "CC-BY-4.0"
    assert mapped(folder, rsmeta, model, "narrow.tif").shape == (SIDE, SIDE)
    ended = rsmeta("report", model.parent, "--output", folder / "dofa.html")
    assert ended.status == 0, ended.err
    assert "dofa_vit_b16" in (folder / "dofa.html").read_text(encoding="utf-8")
    ended = rsmeta("predict", folder / "wide.tif", "--model", model, "--output", folder / "no.tif")
    assert ended.status == 1
    assert "lacks the bands (105) w0400" in ended.err
