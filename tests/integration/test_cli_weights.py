"""Checkpoints on the command line: what inspect says of each kind, and what train takes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from rsmeta.models.weights import known_weights
from rsmeta.models.weights.download import cache_place
from tests.unit.tiny_clip import reference
from tests.unit.tiny_satmae import TEN, pretrained, write_official

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

OPTIONS = {"embed_dim": 32, "depth": 2, "num_heads": 2, "channel_embed": 8}


class Malicious:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.path.write_text, ("ran",))


# -- inspect -------------------------------------------------------------------------------------


def _tuned(folder: Path) -> Path:
    state = {k: v for k, v in pretrained("group").items() if not k.startswith(("decoder", "mask"))}
    tuned = {"head.weight": torch.zeros(62, 32), "head.bias": torch.zeros(62)}
    norm = {"fc_norm.weight": state.pop("norm.weight"), "fc_norm.bias": state.pop("norm.bias")}
    torch.save({"model": state | tuned | norm, "epoch": 7}, folder / "tuned.pth")
    return folder / "tuned.pth"


def _timm(folder: Path) -> Path:
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), folder / "t.safetensors")
    return folder / "t.safetensors"


def _torchgeo(folder: Path) -> Path:
    name = "torchgeo:ViTSmall16_Weights.SENTINEL1_GRD_MAE"
    with torch.device("meta"):
        net = timm.create_model("vit_small_patch16_224", in_chans=2, num_classes=0)
    state = {k: torch.zeros(v.shape, dtype=torch.float16) for k, v in net.state_dict().items()}
    torch.save(state, folder / known_weights()[name].file_name)
    return folder / known_weights()[name].file_name


def _open_clip(folder: Path) -> Path:
    state = {k: v.contiguous() for k, v in reference(quick_gelu=False).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder / "open_clip_model.safetensors"


KINDS = {
    "pretrained": (
        write_official,
        {"family": "SatMAE multispectral, channel groups", "training_stage": "masked autoencoding",
         "patch_px": 8, "image_px": 32, "licence": "CC BY-NC 4.0 as SatMAE's authors publish"},
    ),
    "fine-tuned": (_tuned, {"training_stage": "fine-tuned", "classes": 62}),
    "timm": (
        _timm,
        {"family": "vision transformer", "backbone": "vit_tiny_patch16_224", "size": "tiny",
         "image_px": 224, "classes": 1000, "bands": 3, "parameters": 5717416},
    ),
    "torchgeo": (
        _torchgeo,
        {"known_as": "torchgeo:ViTSmall16_Weights.SENTINEL1_GRD_MAE", "bands": ["VV", "VH"],
         "licence": "CC-BY-4.0"},
    ),
    "open_clip": (
        _open_clip,
        {"family": "CLIP, image and text tower, in open_clip's layout", "projection_dim": 32,
         "image_px": 32, "text_tokens": 24, "training_stage": "contrast of images and texts"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_says_what_a_checkpoint_is(rsmeta: Rsmeta, tmp_path: Path, kind: str) -> None:
    make, wanted = KINDS[kind]
    file = make(tmp_path)
    ended = rsmeta("inspect", file, "--json")
    assert ended.status == 0, ended.err
    told = json.loads(ended.out)
    assert told["kind"] == "checkpoint"
    assert len(told["sha256"]) == 64
    text = rsmeta("inspect", file).out
    for key, value in wanted.items():
        said = told[key]
        assert said[: len(value)] == value if isinstance(value, str) else said == value
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        assert f"{key}: {shown}" in text


def test_inspect_refuses_what_is_no_checkpoint(rsmeta: Rsmeta, tmp_path: Path) -> None:
    (tmp_path / "noise.pth").write_bytes(np.random.default_rng(0).bytes(4096))
    ended = rsmeta("inspect", tmp_path / "noise.pth")
    assert ended.status == 1
    assert "noise.pth" in ended.complaint


def test_inspect_refuses_a_malicious_pickle(rsmeta: Rsmeta, tmp_path: Path) -> None:
    torch.save({"model": Malicious(tmp_path / "marker")}, tmp_path / "bad.pth")
    ended = rsmeta("inspect", tmp_path / "bad.pth", "--json")
    assert ended.status == 1
    assert "refused: it holds more than tensors" in ended.complaint
    assert not (tmp_path / "marker").exists()


def test_list_shows_known_weights(rsmeta: Rsmeta) -> None:
    lines = rsmeta("list", "backbones").out.splitlines()
    line = next(line for line in lines if "ViTSmall16_Weights.SENTINEL1_GRD_MAE" in line)
    assert "VV, VH" in line
    assert "CC-BY-4.0" in line


# -- train ---------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, make_scene: MakeScene) -> Path:
    """A configuration for a Sentinel-2 scene of ten bands, two steps long, without weights."""
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:64, :64]
    labels = (1 + (row // 16 + col // 16) % 2).astype(np.uint8)
    image = rng.normal(1000 + 400.0 * labels * np.ones((10, 1, 1)), 50).astype(np.uint16)
    make_scene(tmp_path / "s2.tif", image, descriptions=[band.name for band in TEN])
    make_scene(tmp_path / "labels.tif", labels)
    tree = {
        "data": {
            "root": str(tmp_path), "scenes": ["s2.tif"], "labels": "labels.tif",
            "classes": {1: "bare", 2: "meadow"}, "chip_px": 32, "chips_per_epoch": 4,
            "batch_size": 2,
        },
        "model": {"backbone": "satmae_vit_b16_group", "options": OPTIONS, "head": "linear",
                  "pretrained": False},
        "tuner": "head",
        "trainer": {"max_steps": 2, "accelerator": "cpu"},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "config.yaml"


def test_an_official_checkpoint_trains_and_predicts(
    rsmeta: Rsmeta, config: Path, tmp_path: Path
) -> None:
    file = write_official(tmp_path)
    run = tmp_path / "run"
    ended = rsmeta("train", config, f"model.checkpoint={file}", "--output", run)
    assert ended.status == 0, ended.err
    noted = (run / "model.txt").read_text(encoding="utf-8")
    assert "1 missing (channel_cls_embed), 4 unexpected" in noted
    assert "unexpected" not in ended.err
    told = json.loads(rsmeta("inspect", run, "--json").out)
    assert told["backbone"]["licence"] == "CC BY-NC 4.0"
    assert told["backbone"]["checkpoint"] == file.name
    assert f"SHA-256 {told['backbone']['sha256']}" in noted
    words = ("predict", tmp_path / "s2.tif", "--model", run / "bundle", "--output")
    assert rsmeta(*words, tmp_path / "map.tif").status == 0
    file.write_bytes(b"another file")
    assert "is not the file that" in rsmeta(*words, tmp_path / "again.tif").complaint


def test_weights_by_name_are_noted_in_the_bundle_and_checked(
    rsmeta: Rsmeta, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "cache"))
    address = known_weights()["satmae_vit_b16_group.fmow_sentinel_mae"].entry.source
    place = cache_place(address)
    place.parent.mkdir(parents=True)
    shutil.move(write_official(tmp_path), place)
    run = tmp_path / "run"
    ended = rsmeta("train", config, "model.pretrained=true", "--output", run)
    assert ended.status == 0, ended.err
    noted = json.loads(rsmeta("inspect", run, "--json").out)["backbone"]
    assert noted["name"] == "satmae_vit_b16_group.fmow_sentinel_mae"
    assert noted["checkpoint"] == address
    assert len(noted["sha256"]) == 64
    words = ("predict", tmp_path / "s2.tif", "--model", run / "bundle", "--output")
    assert rsmeta(*words, tmp_path / "map.tif").status == 0
    place.write_bytes(b"another file")
    complaint = rsmeta(*words, tmp_path / "again.tif").complaint
    assert f"wanted {noted['sha256']}" in complaint
    assert not (tmp_path / "again.tif").exists()


def test_a_malicious_checkpoint_stops_training_in_one_line(
    rsmeta: Rsmeta, config: Path, tmp_path: Path
) -> None:
    content = {"model": pretrained("group"), "args": Malicious(tmp_path / "marker")}
    torch.save(content, tmp_path / "bad.pth")
    words = ("train", config, f"model.checkpoint={tmp_path / 'bad.pth'}", "--output")
    ended = rsmeta(*words, tmp_path / "run")
    assert ended.status == 1
    assert "refused: it holds more than tensors (it would call getattr)" in ended.complaint
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "run").exists()


def test_addresses_that_are_not_fetched(rsmeta: Rsmeta, config: Path, tmp_path: Path) -> None:
    words = ("train", config, "model.checkpoint=http://weights.example/a.pth", "--output")
    ended = rsmeta(*words, tmp_path / "run")
    assert ended.status == 1
    assert "only https:// addresses are" in ended.complaint
