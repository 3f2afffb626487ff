"""What is told of a checkpoint: timm's networks by their tensors, CLIPs, known files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from rsmeta.files import file_sha256
from rsmeta.models import BACKBONES, describe_checkpoint
from rsmeta.models.checkpoint import Checkpoint
from rsmeta.models.timm.describe import describe_timm
from rsmeta.models.weights import known, known_weights

if TYPE_CHECKING:
    from pathlib import Path

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}


def told_of(name: str, **options: Any) -> dict[str, Any]:
    """Return what is told of a network of timm; its numbers are not needed."""
    with torch.device("meta"):
        state = timm.create_model(name, **options).state_dict()
    told = describe_timm(Checkpoint({f"module.{k}": v for k, v in state.items()}, {}))
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vit_tiny_patch16_224", {"size": "tiny", "patch_px": 16, "image_px": 224, "classes": 1000,
                                  "registers": 0, "family": "vision transformer"}),
        ("vit_tiny_patch16_384", {"image_px": 384}),
        ("vit_small_patch14_reg4_dinov2", {"size": "small", "registers": 4, "image_px": 518}),
        ("vit_small_patch14_dinov2", {"registers": 0, "patch_px": 14, "classes": None}),
        ("deit_tiny_distilled_patch16_224", {"distillation": "a token of its own"}),
        ("deit3_small_patch16_224", {"image_px": 224}),
        ("eva02_tiny_patch14_224", {"family": "EVA", "size": "tiny", "image_px": 224}),
        ("vit_small_patch16_dinov3", {"family": "EVA", "image_px": None, "registers": 4}),
        ("swin_tiny_patch4_window7_224", {"family": "Swin transformer", "window": 7,
                                          "depth": [2, 2, 6, 2], "classes": 1000}),
        ("swinv2_tiny_window8_256", {"family": "Swin transformer V2", "window": None}),
    ],
)  # fmt: skip
def test_networks_of_timm_are_named(name: str, told: dict[str, Any]) -> None:
    found = told_of(name)
    assert found["backbone"] == name
    assert {key: found[key] for key in told} == told


def test_networks_that_timm_has_no_name_for() -> None:
    found = told_of("vit_tiny_patch16_224", in_chans=5, num_classes=0, **TINY)
    assert (found["backbone"], found["size"]) == (None, "custom")
    assert (found["bands"], found["depth"], found["image_px"]) == (5, 2, 32)
    assert found["training_stage"] == "encoder alone"
    odd = told_of("vit_tiny_patch16_224", init_values=1.0)
    assert (odd["backbone"], odd["size"]) == (None, "tiny")


def test_a_projection_is_no_classifier() -> None:
    state = timm.create_model("vit_tiny_patch16_224", pre_norm=True, num_classes=7).state_dict()
    found = describe_timm(Checkpoint(state, {}))
    assert found is not None
    assert (found["classes"], found["projection_dim"]) == (None, 7)
    state["head.bias"] += 1
    assert (describe_timm(Checkpoint(state, {})) or {})["classes"] == 7


def test_swin_in_the_layout_of_torchvision() -> None:
    with torch.device("meta"):
        state = torchvision.models.swin_v2_t().state_dict()
    found = describe_timm(Checkpoint(state, {}))
    assert found is not None
    assert found["family"] == "Swin transformer V2, in torchvision's layout"
    assert found["backbone"] == "swinv2_tiny_window8_256"


def test_other_networks_are_unknown(tmp_path: Path) -> None:
    save_file({"layer1.0.conv1.weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    told = describe_checkpoint(tmp_path / "a.safetensors")
    assert told["family"] == "unknown"
    assert told["holds"] == "layer1.0.conv1.weight"
    assert "use" not in told


# -- known files ---------------------------------------------------------------------------------

DINO = "torchgeo:ViTSmall16_Weights.SENTINEL2_ALL_DINO"


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that TorchGeo could have published, under its name."""
    file = tmp_path_factory.mktemp("dino") / known_weights()[DINO].file_name
    with torch.device("meta"):
        shapes = timm.create_model("vit_small_patch16_224", in_chans=13, num_classes=0).state_dict()
    torch.save({k: torch.zeros(v.shape, dtype=torch.float16) for k, v in shapes.items()}, file)
    return file


def test_a_known_file_is_recognised_by_its_name(dino: Path) -> None:
    told = describe_checkpoint(dino)
    assert (told["known_as"], told["known_by"]) == (DINO, "file name and tensors")
    assert told["bands"][:2] == ["B01", "B02"]
    assert told["licence"] == "CC-BY-4.0"
    assert told["published"] == "DINO on SSL4EO-S12"
    assert told["use"] == f"model.backbone={DINO} model.checkpoint={dino}"


def test_under_another_name_all_that_fit_are_named(dino: Path, tmp_path: Path) -> None:
    other = tmp_path / "x.pth"
    other.symlink_to(dino)
    told = describe_checkpoint(other)
    assert DINO in told["could_be"]
    assert all("ViTSmall16_Weights.SENTINEL2_ALL_" in name for name in told["could_be"])
    assert "licence" not in told
    assert told["use"].startswith("model.backbone=vit_small_patch16_224 ")


def test_a_known_hash_decides(dino: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = DINO.replace("DINO", "MOCO")
    moco = known_weights()[name]
    entry = moco.entry.model_copy(update={"sha256": file_sha256(dino)})
    table = {**known_weights(), name: replace(moco, entry=entry)}
    monkeypatch.setattr(known, "known_weights", lambda: table)
    told = describe_checkpoint(dino)
    assert (told["known_as"], told["known_by"]) == (name, "SHA-256")


def test_families_come_in_a_fixed_order() -> None:
    assert BACKBONES.names()[:9] == [
        "copernicus", "dofa", "panopticon", "pixels", "prithvi", "satmae", "scalemae", "timm",
        "torchgeo",
    ]  # fmt: skip
