"""DOFA: filters from wavelengths, features as TorchGeo's, and the published format of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.bands import Band
from rsmeta.geo.sensors import known_band
from rsmeta.models import build_backbone, describe_checkpoint, list_backbones
from rsmeta.models.build import build_network
from rsmeta.models.dofa.stem import SENTINEL2
from tests.unit.tiny_generated import (
    MANY,
    RADAR,
    TINY,
    adapters_merge_and_onnx_follows,
    tiny_published,
    write_published,
)

if TYPE_CHECKING:
    from pathlib import Path

NINE = tuple(known_band(name) for name in SENTINEL2)


def _theirs() -> Any:
    from torchgeo.models.dofa import DOFA

    return tiny_published(DOFA, "patch_embed", num_classes=0)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("dofa") / "dofa_base_patch16_224.pth"
    return write_published(_theirs(), file)


def _spec(official: Path, **keys: Any) -> ModelSpec:
    given = {"backbone": "dofa_vit_b16", "options": TINY, "checkpoint": str(official)}
    return ModelSpec(**{**given, **keys})


@pytest.mark.parametrize(
    ("bands", "waves_um"),
    [
        (NINE, None),
        (NINE[:1], None),
        (RADAR, [3.75, 3.75]),
        ((Band("SAR"),), [3.75]),
        ((*NINE[:2], RADAR[0]), [0.665, 0.56, 3.75]),
        (MANY, None),
    ],
    ids=["nine", "one", "radar", "any radar", "mixed", "200"],
)
def test_tokens_and_features_are_those_of_torchgeo(
    official: Path, bands: tuple[Band, ...], waves_um: list[float] | None
) -> None:
    waves = waves_um or [(band.wavelength_nm or 0) / 1000 for band in bands]
    if bands[-1] == RADAR[0]:
        waves = [*((band.wavelength_nm or 0) / 1000 for band in bands[:2]), 3.75]
    theirs, ours = _theirs(), build_backbone(_spec(official), bands).eval()
    x = torch.randn(2, len(bands), 32, 32)
    with torch.no_grad():
        tokens, _ = theirs.patch_embed(x, torch.tensor(waves))
        found = ours.vit.patch_embed(x).flatten(1, 2)
        torch.testing.assert_close(found, tokens, atol=2e-5, rtol=2e-5)
        wanted = theirs.forward_features(x, waves)
        torch.testing.assert_close(ours(x).cls, wanted, atol=2e-5, rtol=2e-5)
    assert tokens.std() > 1e-2
    assert ours.stem_report.all_matched
    assert ours.load_report.missing == ("fc_norm.weight", "fc_norm.bias")
    assert ours.load_report.unexpected == ()


def test_radar_is_at_the_wavelength_that_it_was_trained_at(official: Path) -> None:
    backbone = build_backbone(_spec(official), (*RADAR, NINE[0], Band("dem")))
    assert backbone.stem_report.origins == ("3750 nm", "3750 nm", "664.6 nm", "mean of all")
    assert not backbone.stem_report.all_matched
    thermal = build_backbone(_spec(official), (Band("tir", "lwir11", 10895.0),))
    assert "tir" in thermal.stem_report.notes[0]
    assert build_backbone(_spec(official), (Band("dem"),)).stem_report.origins == ("mean of all",)


def test_order_and_strategy(official: Path) -> None:
    x = torch.randn(1, 9, 32, 40)
    forward, back, named = (
        build_backbone(_spec(official, stem={"strategy": strategy}), bands).eval()
        for strategy, bands in (("match", NINE), ("match", NINE[::-1]), ("wavelength", None))
    )
    with torch.no_grad():
        wanted = forward(x).map
        torch.testing.assert_close(back(x.flip(1)).map, wanted, atol=2e-5, rtol=2e-5)
        assert torch.equal(named(x).map, wanted)
    with pytest.raises(ConfigError, match="needs weights that make filters of wavelengths"):
        build_backbone(
            ModelSpec(backbone="vit_tiny_patch16_224", stem={"strategy": "wavelength"}), NINE
        )


@pytest.mark.parametrize("damage", ["cut", "nan", "other"])
def test_damaged_and_foreign_files_are_refused(official: Path, tmp_path: Path, damage: str) -> None:
    state = torch.load(official)
    key = "patch_embed.weight_generator.fc_bias.weight"
    if damage == "cut":
        del state[key]
    if damage == "nan":
        state[key][0, 0] = torch.nan
    file = tmp_path / "damaged.pth"
    torch.save(state, file)
    name = "vit_base_patch16_224" if damage == "other" else "dofa_vit_b16"
    said = {"cut": "no complete generator", "nan": "NaN", "other": "holds a DOFA"}[damage]
    with pytest.raises(CheckpointError, match=said):
        build_backbone(_spec(file, backbone=name), NINE)


def test_names_and_inspect(official: Path) -> None:
    names = dict(list_backbones())
    assert "CC-BY-4.0" in names["dofa_vit_b16"]
    assert "large" in names["dofa_vit_l16"]
    told = describe_checkpoint(official)
    assert (told["family"], told["patch_px"], told["image_px"]) == ("DOFA", 8, 32)
    with pytest.raises(UnknownNameError):
        build_backbone(ModelSpec(backbone="dofa_vit_b16.nothing"), NINE)
    with pytest.raises(UnknownNameError):
        build_backbone(ModelSpec(backbone="dofa_vit_s16"), NINE)


def test_training_starts_from_the_data_s_own_statistics(official: Path) -> None:
    network = build_network(
        _spec(official, head="linear"), TunerSpec(rank=2), bands=NINE, classes=2,
        mean=[0.2] * 9, std=[0.1] * 9,
    )  # fmt: skip
    assert {band.whose for band in network.normalisation.bands} == {"data"}
    assert not any(p.requires_grad for p in network.backbone.stem.parameters())


def test_full_size_names_are_timm_s_networks() -> None:
    with torch.device("meta"):
        large = build_backbone(ModelSpec(backbone="dofa_vit_l16", options={"depth": 1}), RADAR)
    assert (large.dim, large.patch_px) == (1024, 16)


def test_adapters_merge_and_onnx_follows(official: Path, tmp_path: Path) -> None:
    adapters_merge_and_onnx_follows("dofa_vit_b16", official, TINY, tmp_path)
