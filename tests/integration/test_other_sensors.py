"""Weights for 13 bands meet scenes with 8, 6, 3, 2 and 1: each is trained, and mapped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from safetensors.torch import save_file

from rsmeta.config.model import ModelSpec
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import build_backbone

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

S2 = load_sensor("sentinel2_l1c").bands
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
GROUPED = {**TINY, "channel_embed": 8, "groups": [
    ["B01", "B02", "B03", "B04", "B08"], ["B05", "B06", "B07", "B8A", "B09"], ["B10", "B11", "B12"]
]}  # fmt: skip

SCENES = {
    "8 bands": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08"),
    "6 bands": ("blue", "green", "red", "nir", "swir16", "swir22"),
    "3 bands": ("red", "green", "blue"),
    "2 bands": ("VV", "VH"),
    "1 band": ("SAR",),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights for the 13 bands of Sentinel-2: one network with channel groups, one without."""
    folder = tmp_path_factory.mktemp("published")
    for name, options in (("vit_tiny_patch16_224", TINY), ("satmae_vit_b16_group", GROUPED)):
        backbone = build_backbone(ModelSpec(backbone=name, options=options), S2)
        save_file(backbone.vit.state_dict(), folder / f"{name}.safetensors")
    return {file.stem: file for file in folder.iterdir()}


def _write(folder: Path, bands: tuple[str, ...], make_scene: MakeScene) -> None:
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:64, :64]
    labels = (1 + (row // 16 + col // 16) % 2).astype(np.uint8)
    image = rng.normal(0.05 + 0.1 * labels * np.ones((len(bands), 1, 1)), 0.02).astype(np.float32)
    image[:, :5, :9] = np.nan
    make_scene(folder / "scene.tif", image, descriptions=bands)
    make_scene(folder / "labels.tif", labels)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "satmae_vit_b16_group"])
@pytest.mark.parametrize("scene", SCENES)
def test_trains_and_predicts(
    name: str,
    scene: str,
    published: dict[str, Path],
    make_scene: MakeScene,
    rsmeta: Rsmeta,
    tmp_path: Path,
) -> None:
    _write(tmp_path, SCENES[scene], make_scene)
    stem = {} if "group" in name else {"bands": [band.name for band in S2]}
    options = GROUPED if "group" in name else TINY
    config = {
        "data": {
            "root": str(tmp_path), "scenes": "scene.tif", "labels": "labels.tif",
            "classes": {1: "bare", 2: "meadow"}, "chip_px": 32, "chips_per_epoch": 8,
            "batch_size": 4,
        },
        "model": {
            "backbone": name, "checkpoint": str(published[name]), "options": options,
            "stem": stem, "head": "linear",
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    trained = rsmeta("--verbose", "train", tmp_path / "config.yaml", "--output", tmp_path / "run")
    assert trained.status == 0, trained.err
    told = json.loads(rsmeta("inspect", tmp_path / "run", "--json").out)
    _check_told(told, SCENES[scene])
    assert all(band["filter_from"] in trained.err for band in told["bands"])
    mapped = rsmeta(
        "predict", tmp_path / "scene.tif", "--model", tmp_path / "run" / "bundle",
        "--output", tmp_path / "map.tif",
    )  # fmt: skip
    assert mapped.status == 0, mapped.err
    with rasterio.open(tmp_path / "map.tif") as file:
        values = file.read(1)
    assert (values == 255)[:5, :9].all()
    assert (values == 255).sum() == 45


def _check_told(told: dict[str, Any], names: tuple[str, ...]) -> None:
    assert [band["name"] for band in told["bands"]] == list(names)
    optical = names[0] not in ("VV", "SAR")
    origins = [band["filter_from"] for band in told["bands"]]
    wanted = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "swir16": "B11",
              "swir22": "B12"}  # fmt: skip
    if optical:
        assert origins == [wanted.get(name, name) for name in names]
    else:
        assert origins == ["mean of all"] * len(names)
    assert told["stem"]["strategy"] == "match"
    assert {band["statistics_of"] for band in told["bands"]} == {"data"}  # none are known
