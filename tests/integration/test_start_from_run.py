"""A trained run as a backbone: other bands, other classes, other tasks; nothing else is needed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import rsmeta
from rsmeta.errors import RsmetaError
from rsmeta.training.auto import candidates
from rsmeta.workflows.dry_run import dry_run
from rsmeta.workflows.inspect import inspect

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
FEW_STEPS = {"max_steps": 2, "baseline": False}
OPTICAL = ("B02", "B03", "B04", "B08")
RADAR = ("VV", "VH")

Train = "Callable[..., Path]"


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Train:
    """Return a function that trains two steps on a made-up scene and returns the run."""

    def run(bands: tuple[str, ...], *, classes: int = 2, **sections: Any) -> Path:
        folder = tmp_path_factory.mktemp("run")
        _write(folder, bands, classes, make_scene)
        return rsmeta.train(_config(folder, classes, **sections), output=folder / "run").output

    return run


def _write(folder: Path, bands: tuple[str, ...], classes: int, make_scene: MakeScene) -> None:
    row, col = np.mgrid[:64, :64]
    labels = (1 + (row // 16 + col // 16) % classes).astype(np.uint8)
    rng = np.random.default_rng(len(bands))
    image = rng.normal(0.05 + 0.1 * labels * np.ones((len(bands), 1, 1)), 0.02).astype(np.float32)
    image[:, :5, :9] = np.nan
    make_scene(folder / "scene.tif", image, descriptions=bands)
    make_scene(folder / "labels.tif", labels)


def _config(folder: Path, classes: int, **sections: Any) -> dict[str, Any]:
    data = {
        "root": str(folder), "scenes": "scene.tif", "labels": "labels.tif", "chip_px": 32,
        "chips_per_epoch": 4, "batch_size": 2,
        "classes": {i + 1: f"class {i}" for i in range(classes)}, **sections.pop("data", {}),
    }  # fmt: skip
    return {
        "data": data, "trainer": FEW_STEPS, "tuner": "lora",
        **sections,
    }  # fmt: skip


@pytest.fixture(scope="module")
def optical(train: Any) -> Path:
    """A run on four bands of Sentinel-2, whose adapters changed every block."""
    return train(
        OPTICAL,
        model={
            "backbone": "vit_tiny_patch16_224", "pretrained": False, "options": TINY,
            "head": "linear",
        },
        trainer={**FEW_STEPS, "optimizer": {"lr": 0.05}},
    )  # fmt: skip


def test_sentinel_2_then_sentinel_1_with_more_classes(
    train: Any, optical: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(optical, kept)
    run = train(RADAR, classes=3, model={"checkpoint": str(kept), "head": "linear"})
    shutil.rmtree(kept)  # the bundle holds all that it needs
    bundle = rsmeta.load_bundle(run / "bundle")
    assert bundle.record.backbone.name == "vit_tiny_patch16_224"
    assert bundle.record.backbone.checkpoint == "kept"
    assert bundle.record.model.checkpoint is None
    assert bundle.record.model.options == TINY
    assert [band.name for band in bundle.record.bands] == list(RADAR)
    assert bundle.network.head.score.out_channels == 3
    found = rsmeta.predict(run.parent / "scene.tif", run / "bundle", output=tmp_path / "map.tif")
    assert found is not None


def test_a_backbone_of_pixel_sizes_keeps_that_of_its_scenes(train: Any, tmp_path: Path) -> None:
    model = {"backbone": "scalemae_vit_l16", "options": TINY, "head": "linear"}
    run = train(OPTICAL[:3], model=model, tuner="full")
    bundle = rsmeta.load_bundle(run / "bundle")
    gsd_m = bundle.record.gsd_m[0]
    assert gsd_m != 1.0
    assert bundle.record.model.options == {**TINY, "gsd_m": gsd_m}
    assert bundle.network.backbone.vit.gsd_m == gsd_m
    again = train(RADAR, model={"checkpoint": str(run), "head": "linear"})
    assert rsmeta.load_bundle(again / "bundle").network.backbone.vit.gsd_m == gsd_m


def test_an_average_has_runs_as_members_and_holds_them(
    train: Any, optical: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(optical, kept)
    model = {"average": ["pixels", {"checkpoint": str(kept), "head": "logistic"}]}
    run = train(OPTICAL, model=model, tuner="head", trainer={"baseline": False})
    shutil.rmtree(kept)
    bundle = rsmeta.load_bundle(run / "bundle")
    assert [one.checkpoint for one in bundle.record.model.average] == [None, None]
    image = torch.full((1, 4, 32, 32), 0.15)
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    member = bundle.network.members[1]
    old = rsmeta.load_bundle(optical / "bundle").network
    with torch.no_grad():
        wanted = old.backbone(old.prepare(image, valid)).map
        torch.testing.assert_close(
            member.backbone(member.prepare(image, valid)).map, wanted, atol=2e-5, rtol=1e-4
        )
        shares = [one(image, valid).softmax(1) for one in bundle.network.members[1:]]
        pixels = bundle.network(image, valid).softmax(1) * 2 - shares[0]
    assert pixels.min() > -1e-4  # what is left is the other member's probability


def test_a_candidate_of_auto_may_be_a_run(
    train: Any, optical: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "TRIED", candidates.TRIED[:1])  # takes less time
    monkeypatch.setattr(candidates, "USUAL", candidates.TRIED)
    candidate = {"checkpoint": str(optical), "zoom": 1}
    run = train(
        OPTICAL, model={"candidates": [candidate]}, tuner="head", trainer={"baseline": False},
    )  # fmt: skip
    text = (run / "metrics.json").read_text()
    assert f"logistic regression on {optical}" in str(json.loads(text)["selection"]["candidates"])


def test_a_dry_run_counts_and_writes_nothing(optical: Path, tmp_path: Path) -> None:
    config = _config(optical.parent, 2, model={"checkpoint": str(optical), "head": "linear"})
    before = sorted(optical.rglob("*"))
    assert dry_run(config).trained < dry_run(config).total
    assert sorted(optical.rglob("*")) == before


def test_inspect_says_whose_the_weights_are(optical: Path, tmp_path: Path) -> None:
    file = optical / "bundle" / "weights.safetensors"
    told = inspect(file)
    assert told["kind"] == "weights of a bundle"
    assert told["use"] == f"model.checkpoint={file.parent}"
    assert told["backbone"]["name"] == "vit_tiny_patch16_224"
    alone = shutil.copy(file, tmp_path / "weights.safetensors")
    assert "without its bundle.yaml" in inspect(alone)["family"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"checkpoint": "nothing/there"}, "no checkpoint at"),
        ({"checkpoint": "empty"}, "a folder without bundle.yaml"),
        ({"checkpoint": "begun"}, "a run without a bundle; finish it with --resume"),
        ({"checkpoint": "taken/weights.safetensors"}, "without its bundle.yaml"),
        ({"checkpoint": "run", "backbone": "vit_small_patch16_224"}, "omit model.backbone"),
        ({"checkpoint": "run", "checkpoint_sha256": "0" * 64}, "is not the file"),
        ({"checkpoint": "run", "options": {"depth": 3}}, "lacks"),
    ],
)
def test_what_cannot_be_a_backbone(
    optical: Path, tmp_path: Path, model: dict[str, Any], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("{}")
    (tmp_path / "taken").mkdir()
    shutil.copy(optical / "bundle" / "weights.safetensors", tmp_path / "taken")
    (tmp_path / "run").symlink_to(optical)
    given = {"head": "linear", **model, "checkpoint": str(tmp_path / model["checkpoint"])}
    output = tmp_path / "new"
    with pytest.raises(RsmetaError) as error:
        rsmeta.train(_config(optical.parent, 2, model=given), output=output)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not output.exists()
