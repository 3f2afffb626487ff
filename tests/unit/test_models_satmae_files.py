"""SatMAE files and names: official checkpoints, refusals, options, what inspect tells."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.bands import generic_band
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import build_backbone, describe_checkpoint, open_checkpoint
from rsmeta.models.names import satmae_names
from rsmeta.models.records import METADATA_KEY, OwnRecord
from rsmeta.models.satmae.backbone import OneDateSatmae
from rsmeta.models.shipped import shipped_weights
from tests.unit.tiny_satmae import KINDS, RGB, TEN, build, pretrained, state_of

if TYPE_CHECKING:
    from pathlib import Path

# -- checkpoints ---------------------------------------------------------------------------------


def test_an_official_checkpoint_loads(official: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        backbone = build("group", official)
    report = backbone.load_report
    state = pretrained("group")
    own = backbone.vit.state_dict()
    assert report.matched == len(own) - 1
    assert report.missing == ("channel_cls_embed",)
    assert report.reshaped == ()
    assert len(report.unexpected) == 4
    assert "4 unexpected" in caplog.text
    assert all(torch.equal(own[key], state[key]) for key in own if key in state)
    assert (backbone.patch_px, backbone.record.image_px) == (8, 32)
    assert backbone.record.licence == "CC BY-NC 4.0"
    assert backbone.record.bands[:4] == ("B02", "B03", "B04", "B08")
    assert backbone.record.mean[0] == pytest.approx(0.118438, abs=1e-6)
    assert len(report.sha256) == 64


def test_notes_beside_the_tensors_are_read(official: Path) -> None:
    notes = open_checkpoint(official).notes
    assert (notes["epoch"], notes["mask_ratio"], notes["lr"]) == (199, 0.75, 1e-4)
    assert type(notes["epoch"]) is int


class Malicious:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.path.write_text, ("ran",))


@pytest.mark.parametrize("where", ["model", "args", "inside args"])
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, where: str) -> None:
    bad = Malicious(tmp_path / "marker")
    content: dict[str, Any] = {"model": pretrained("group"), "args": argparse.Namespace()}
    if where == "inside args":
        content["args"] = argparse.Namespace(output=bad)
    else:
        content[where] = bad
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(
        CheckpointError, match=r"refused: it holds more than tensors \(it would call getattr\)"
    ):
        build("group", tmp_path / "bad.pth")
    assert not (tmp_path / "marker").exists()


def test_a_file_can_name_its_own_licence(tmp_path: Path) -> None:
    save_file(pretrained("rgb"), tmp_path / "own.safetensors", {"licence": "Apache-2.0"})
    assert build("rgb", tmp_path / "own.safetensors").record.licence == "Apache-2.0"
    assert describe_checkpoint(tmp_path / "own.safetensors")["licence"] == "Apache-2.0"


def test_names_of_distributed_training(tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in pretrained("rgb").items()}
    save_file(state, tmp_path / "rgb.safetensors")
    assert build("rgb", tmp_path / "rgb.safetensors").has_weights


@pytest.mark.parametrize(
    ("kind", "has"), [("group", "rgb"), ("rgb", "temporal"), ("temporal", "group")]
)
def test_another_family_is_named(tmp_path: Path, kind: str, has: str) -> None:
    save_file(pretrained(has), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=f"set model.backbone=satmae_vit_.16_{has}"):
        build(kind, tmp_path / "other.safetensors")


def test_no_satmae_at_all(tmp_path: Path, official: Path) -> None:
    save_file({"layer1.0.conv1.weight": torch.zeros(3)}, tmp_path / "resnet.safetensors")
    with pytest.raises(CheckpointError, match=r"is no SatMAE .*it holds layer1\.0\.conv1\.weight"):
        build("rgb", tmp_path / "resnet.safetensors")
    scaled = state_of("rgb") | {"blocks.0.ls1.gamma": torch.zeros(32)}
    save_file(scaled, tmp_path / "scaled.safetensors")
    with pytest.raises(CheckpointError, match=r"it holds blocks\.0\.ls1\.gamma"):
        build("rgb", tmp_path / "scaled.safetensors")
    with pytest.raises(CheckpointError, match=r"another family \(SatMAE multispectral"):
        build_backbone(ModelSpec(checkpoint=str(official)), RGB)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"depth": 1}, r"with depth=2, .* has 1; set model\.options\.depth=2"),
        ({"embed_dim": 64}, r"with embed_dim=32"),
        ({"patch_size": 16}, r"patch_size=8, .* has 16; set model\.options\.patch_size=8"),
        ({"groups": [["B02", "B03"], ["B11"]]}, r"channel groups of 4, 4, 2 bands"),
    ],
)
def test_other_measures(official: Path, options: dict[str, Any], sentence: str) -> None:
    bands = TEN[:2] if "groups" in options else TEN
    with pytest.raises(CheckpointError, match=sentence):
        build("group", official, bands=bands, **options)


def test_missing_tensors_are_an_error(tmp_path: Path) -> None:
    state = state_of("rgb")
    del state["blocks.1.mlp.fc2.bias"]
    save_file(state, tmp_path / "rgb.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 1 of .*blocks\.1\.mlp\.fc2\.bias"):
        build("rgb", tmp_path / "rgb.safetensors")


def test_learned_positions_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = state_of("rgb")
    state["pos_embed"] = torch.randn(1, 17, 32)
    save_file(state, tmp_path / "rgb.safetensors")
    backbone = build("rgb", tmp_path / "rgb.safetensors", pos_embed="interpolate")
    assert "were learned; for images of other than 32 px they are interpolated" in caplog.text
    assert torch.equal(backbone.vit.places(4, 4), state["pos_embed"])
    assert backbone.vit.places(3, 7).shape == (1, 22, 32)


def test_a_file_made_by_rsmeta_says_what_it_expects(tmp_path: Path) -> None:
    groups = (("blue", "green", "red"), ("nir", "swir16"))
    bands = [name for group in groups for name in group]
    own = OwnRecord(
        bands=bands, mean=[0.1] * 5, std=[0.05] * 5, form="standard", unit="reflectance",
        licence="CC0-1.0", groups=groups,
    )  # fmt: skip
    five = tuple(map(generic_band, bands))
    source = build("group", groups=groups, bands=five)
    save_file(source.vit.state_dict(), tmp_path / "own.safetensors", metadata=own.metadata())
    backbone = build("group", tmp_path / "own.safetensors", bands=five[::-1])
    record = backbone.record
    assert (record.bands, record.mean, record.form) == (tuple(bands), (0.1,) * 5, "standard")
    assert record.licence == "CC0-1.0"
    broken = {METADATA_KEY: own.metadata()[METADATA_KEY].replace("0.05, ", "")}
    save_file(source.vit.state_dict(), tmp_path / "broken.safetensors", metadata=broken)
    with pytest.raises(CheckpointError, match=r"cannot be read .*5 bands, 5 means, 1 deviations"):
        build("group", tmp_path / "broken.safetensors")


# -- names, options, inspection ------------------------------------------------------------------


def test_names() -> None:
    published = {f"satmae_vit_{size}16_{kind}" for size in "bl" for kind in KINDS}
    assert set(satmae_names()) == {*published, "satmae_vit_nano_group"}
    with pytest.raises(UnknownNameError, match="did you mean 'satmae_vit_b16_group'"):
        build_backbone(ModelSpec(backbone="satmae_vit_b16_grup"), RGB)
    with pytest.raises(UnknownNameError, match="did you mean 'satmae_vit_l16_rgb'"):
        build_backbone(ModelSpec(backbone="satme_vit_l16_rgb"), RGB)


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("group", {"embed_dims": 24}, "did you mean 'embed_dim'"),
        ("rgb", {"merge": "mean"}, "merge"),
        ("group", {"merge": "sum"}, "merge"),
        ("group", {"num_heads": 5}, "must be a multiple of num_heads=5"),
        ("group", {"channel_embed": 10}, "leaves 22 for positions"),
        ("temporal", {"embed_dim": 384}, "leaves 0 for positions"),
        ("rgb", {"img_size": 30}, "must be a multiple of patch_size=8"),
    ],
)
def test_options_that_do_not_fit(kind: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build(kind, **options)


def test_stem_bands_do_not_apply_to_groups() -> None:
    spec = ModelSpec(backbone="satmae_vit_b16_group", stem={"bands": ["B02"]})
    with pytest.raises(ConfigError, match=r"model\.options\.groups"):
        build_backbone(spec, TEN)


def test_published_measures() -> None:
    with torch.device("meta"):
        backbone = build_backbone(ModelSpec(backbone="satmae_vit_l16_group"), TEN)
    assert (backbone.dim, backbone.depth, backbone.patch_px) == (1024, 24, 8)
    assert backbone.vit.pos_embed.shape == (1, 145, 768)  # type: ignore[union-attr]
    assert not backbone.has_weights


def test_inspect_tells_what_it_is(official: Path, tmp_path: Path) -> None:
    told = describe_checkpoint(official)
    assert told["family"] == "SatMAE multispectral, channel groups"
    assert (told["size"], told["dim"], told["depth"]) == ("custom", 32, 2)
    assert (told["image_px"], told["patch_px"]) == (32, 8)
    assert told["bands"] == ["B02+B03+B04+B08", "B05+B06+B07+B8A", "B11+B12"]
    assert told["training_stage"] == "masked autoencoding"
    assert told["training"] == {"epoch": 199, "mask_ratio": 0.75}
    assert told["licence"].startswith("CC BY-NC 4.0")
    tuned = build("temporal", global_pool=True).vit.state_dict()
    tuned |= {"head.weight": torch.zeros(62, 400), "head.bias": torch.zeros(62)}
    save_file(tuned, tmp_path / "tuned.safetensors")
    told = describe_checkpoint(tmp_path / "tuned.safetensors")
    assert (told["family"], told["training_stage"]) == ("SatMAE temporal", "fine-tuned")
    assert (told["classes"], told["pooling"]) == (62, "mean of patches")


# -- the weights that ship -----------------------------------------------------------------------


def test_the_nano_backbone_ships_with_its_weights() -> None:
    file = shipped_weights("satmae_vit_nano_group")
    assert file is not None
    assert file.stat().st_size <= 2_000_000
    backbone = build_backbone(ModelSpec(backbone="satmae_vit_nano_group", pretrained=True), TEN)
    assert backbone.load_report is not None
    assert not backbone.load_report.missing
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    record = backbone.record
    assert (record.form, record.unit, record.licence) == ("standard", "reflectance", "CC0-1.0")
    assert record.bands == tuple(band.name for band in TEN)
    assert record.mean is not None
    assert all(0.03 < mean < 0.5 for mean in record.mean), "reflectance"
    told = describe_checkpoint(file)
    assert told["backbone"] == "satmae_vit_nano_group"
    assert told["licence"] == "CC0-1.0"
    assert told["bands"] == ["+".join(band.name for band in TEN)]


def test_nano_with_random_weights_can_have_the_measures_of_the_shipped_ones() -> None:
    shipped = build_backbone(ModelSpec(backbone="satmae_vit_nano_group", pretrained=True), TEN)
    assert isinstance(shipped, OneDateSatmae)
    options = {"patch_size": shipped.patch_px, "groups": shipped.group_names}
    random = build_backbone(ModelSpec(backbone="satmae_vit_nano_group", options=options), TEN)
    assert (random.dim, random.depth, random.patch_px) == (shipped.dim, shipped.depth, 4)
    shapes = [{k: v.shape for k, v in b.named_parameters()} for b in (random, shipped)]
    assert shapes[0] == shapes[1]


def test_landsat_takes_the_shipped_filters_by_name() -> None:
    bands = [
        b for b in load_sensor("landsat_oli").bands if b.name in ("B2", "B3", "B4", "B5", "B6")
    ]
    backbone = build_backbone(ModelSpec(backbone="satmae_vit_nano_group", pretrained=True), bands)
    assert backbone.stem_report.origins == ("B02", "B03", "B04", "B8A", "B11")
    assert backbone.stem_report.all_matched
