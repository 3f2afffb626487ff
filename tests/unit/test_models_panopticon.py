"""Panopticon: attention over bands folded, features as TorchGeo's, and the published format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.bands import Band
from rsmeta.geo.sensors import known_band, load_sensor
from rsmeta.models import build_backbone, describe_checkpoint, list_backbones
from rsmeta.models.panopticon import SENTINEL2
from tests.exported import merged_and_onnx_follow
from tests.unit.test_export import _bundle

if TYPE_CHECKING:
    from pathlib import Path

TWELVE = tuple(map(known_band, SENTINEL2))
RADAR = load_sensor("sentinel1_grd").bands
QUAD = tuple(Band(name) for name in ("HV", "HH", "VH", "VV"))
MANY = tuple(Band(f"b{i}", None, 400.0 + 10 * i) for i in range(200))
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 42}


def _theirs(side: int = 42) -> Any:
    """Return TorchGeo's Panopticon, tiny, with random weights; positions are for 42 px."""
    from torchgeo.models.copernicusfm import resize_abs_pos_embed
    from torchgeo.models.panopticon import PanopticonPE

    torch.manual_seed(0)
    net = timm.create_model("vit_base_patch14_dinov2", num_classes=0, **{**TINY, "img_size": 42})
    heads = {"attn_cfg": {"num_heads": 16}}
    net.patch_embed = PanopticonPE(96, 32, 14, chnfus_cfg=heads, img_size=side)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.normal_(std=0.1).add_(1.0 if "norm" in name and "weight" in name else 0.0)
            if "ls" in name or "query" in name:
                parameter.add_(1.0)
        places = resize_abs_pos_embed(net.pos_embed, side // 14, 42 // 14)
    net.pos_embed = torch.nn.Parameter(places)
    return net.eval()


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the published format, a mask token among its tensors."""
    file = tmp_path_factory.mktemp("panopticon") / "panopticon_vitb14_teacher.pth"
    torch.save({**_theirs().state_dict(), "mask_token": torch.zeros(1, 32)}, file)
    return file


def _spec(official: Path, **keys: Any) -> ModelSpec:
    given = {"backbone": "panopticon_vit_b14", "options": TINY, "checkpoint": str(official)}
    return ModelSpec(**{**given, **keys})


@pytest.mark.parametrize("side", [42, 56])
@pytest.mark.parametrize(
    ("bands", "ids"),
    [
        (TWELVE, [442, 492, 559, 664, 704, 740, 782, 832, 864, 945, 1613, 2202]),
        (TWELVE[3:4], [664]),
        (RADAR, [-1, -2]),
        (QUAD, [-4, -3, -2, -1]),
        ((*TWELVE[:2], RADAR[1]), [442, 492, -2]),
        (MANY, [400 + 10 * i for i in range(200)]),
    ],
    ids=["twelve", "one", "radar", "quad", "mixed", "200"],
)
def test_tokens_and_features_are_those_of_torchgeo(
    official: Path, bands: tuple[Band, ...], ids: list[int], side: int
) -> None:
    theirs, ours = _theirs(side), build_backbone(_spec(official), bands).eval()
    x = torch.randn(2, len(bands), side, side)
    given = {"imgs": x.clone(), "chn_ids": torch.tensor([ids, ids], dtype=torch.float32)}
    with torch.no_grad():
        tokens = theirs.patch_embed({k: v.clone() for k, v in given.items()})
        found = ours.vit.patch_embed(x).flatten(1, 2)
        torch.testing.assert_close(found, tokens, atol=2e-5, rtol=2e-5)
        wanted = theirs.forward_features(given)
        torch.testing.assert_close(ours(x).cls, wanted[:, 0], atol=2e-5, rtol=2e-5)
        patches = ours(x).map.flatten(2).transpose(1, 2)
        torch.testing.assert_close(patches, wanted[:, 1:], atol=2e-5, rtol=2e-5)
    assert tokens.std() > 0.05
    assert ours.stem_report.all_matched
    assert ours.load_report.missing == ()
    assert ours.record.licence == "CC-BY-4.0"


def test_bands_without_an_id_get_the_mean_of_the_others(official: Path) -> None:
    bands = (*RADAR, TWELVE[0], Band("dem"), Band("SAR", None, 5.5e7))
    backbone = build_backbone(_spec(official), bands)
    assert backbone.stem_report.origins == ("VV", "VH", "442 nm", *["mean of all"] * 2)
    for rows in (backbone.vit.patch_embed.score_bias, backbone.vit.patch_embed.value_bias):
        torch.testing.assert_close(rows[3], rows[:3].mean(dim=0))
    alone = build_backbone(_spec(official), (Band("dem"),))
    assert alone.stem_report.origins == ("mean of all",)


def test_order_and_strategy(official: Path) -> None:
    x = torch.randn(1, 12, 42, 28)
    forward, back, named = (
        build_backbone(_spec(official, stem={"strategy": strategy}), bands).eval()
        for strategy, bands in (("match", TWELVE), ("match", TWELVE[::-1]), ("wavelength", None))
    )
    with torch.no_grad():
        wanted = forward(x).map
        torch.testing.assert_close(back(x.flip(1)).map, wanted, atol=2e-5, rtol=2e-5)
        assert torch.equal(named(x).map, wanted)


@pytest.mark.parametrize("damage", ["cut", "nan", "other"])
def test_damaged_and_foreign_files_are_refused(official: Path, tmp_path: Path, damage: str) -> None:
    state = torch.load(official)
    key = "patch_embed.chnfus.xattn.inproj_k.weight"
    if damage == "cut":
        del state[key]
    if damage == "nan":
        state[key][0, 0] = torch.nan
    if damage == "other":
        state = {k: v for k, v in state.items() if "patch_embed" not in k}
    torch.save(state, tmp_path / "damaged.pth")
    said = {"cut": "no complete attention", "nan": "NaN", "other": "is no Panopticon"}[damage]
    with pytest.raises(CheckpointError, match=said):
        build_backbone(_spec(tmp_path / "damaged.pth"), TWELVE)


def test_names_sizes_and_inspect(official: Path) -> None:
    assert "(published weights .dino: CC-BY-4.0)" in dict(list_backbones())["panopticon_vit_b14"]
    told = describe_checkpoint(official)
    assert (told["family"], told["patch_px"], told["image_px"]) == ("Panopticon", 14, 42)
    with torch.device("meta"):
        whole = build_backbone(ModelSpec(backbone="panopticon_vit_b14"), RADAR)
    assert (whole.dim, whole.depth, whole.patch_px) == (768, 12, 14)
    with pytest.raises(UnknownNameError):
        build_backbone(ModelSpec(backbone="panopticon_vit_l14"), RADAR)


def test_projected_bands_are_in_no_file(official: Path) -> None:
    backbone = build_backbone(_spec(official, stem={"strategy": "project"}), RADAR)
    assert backbone.projection is not None
    with pytest.raises(ConfigError, match="projects or reduces its bands"):
        backbone.own_weights()


def test_adapters_merge_and_onnx_follows(official: Path, tmp_path: Path) -> None:
    model = {"backbone": "panopticon_vit_b14", "options": TINY, "checkpoint": str(official)}
    saved = _bundle(tmp_path / "bundle", {"method": "lora", "rank": 2}, model)
    merged_and_onnx_follow(tmp_path / "bundle", saved, tmp_path)
