"""The records of known weights agree with their publishers, and build what they name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
import torchvision
from torchvision.transforms.v2 import Normalize

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.bands import generic_band, loose_key
from rsmeta.geo.sensors import known_band, load_sensor
from rsmeta.models import build_backbone, list_backbones
from rsmeta.models.names import TORCHGEO as PREFIX
from rsmeta.models.names import torchgeo_names
from rsmeta.models.timm.torchvision_swin import is_torchvision_swin, timm_swin_state
from rsmeta.models.weights import known_weights, pick_weights
from rsmeta.models.weights.download import cache_place
from rsmeta.models.weights.known import read_weights
from tests.unit.tiny_satmae import pretrained

if TYPE_CHECKING:
    from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchgeo.models as published

S2 = load_sensor("sentinel2_l1c").bands
RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
DINO = "torchgeo:ViTSmall16_Weights.SENTINEL2_ALL_DINO"
TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}

#: TorchGeo's enumerations for timm's ViT and torchvision's Swin V2; names of both architectures.
ENUMERATIONS = (
    "ViTSmall16_Weights", "ViTBase16_Weights", "ViTLarge16_Weights", "ViTHuge14_Weights",
    "ViTSmall14_DINOv2_Weights", "ViTBase14_DINOv2_Weights", "Swin_V2_T_Weights",
    "Swin_V2_B_Weights",
)  # fmt: skip
SWIN = {"swin_v2_t": "swinv2_tiny_window8_256", "swin_v2_b": "swinv2_base_window8_256"}


def enumerated() -> dict[str, Any]:
    return {
        f"{PREFIX}{group}.{weights.name}": weights
        for group in ENUMERATIONS
        for weights in getattr(published, group)
    }


# -- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", enumerated())
def test_a_record_says_what_torchgeo_says(name: str) -> None:
    theirs, ours = enumerated()[name], known_weights()[name]
    meta = theirs.meta
    assert ours.entry.source == theirs.url
    assert ours.entry.backbone == SWIN.get(meta["model"], meta["model"])
    assert ours.entry.citation == meta["publication"]
    assert meta["dataset"] in ours.entry.training
    assert ours.entry.licence
    assert len(ours.input.bands) == meta["in_chans"]
    bands = ours.input.published_bands or ours.input.bands
    assert [loose_key(b) for b in bands] == [loose_key(b) for b in meta["bands"]]
    assert ours.entry.options == ({"img_size": meta["img_size"]} if "img_size" in meta else {})
    steps = [step for step in theirs.transforms if isinstance(step, Normalize)]
    if not steps:
        assert ours.input.mean is None
        return
    assert len(steps) == 1
    for values, declared in ((ours.input.mean, steps[0].mean), (ours.input.std, steps[0].std)):
        assert values is not None
        assert ours.input.per_band(values) == ours.input.per_band(tuple(map(float, declared)))


def test_no_record_of_torchgeo_is_missing() -> None:
    assert set(torchgeo_names()) == set(enumerated())


def test_statistics_are_physical() -> None:
    softcon = known_weights()["torchgeo:ViTSmall14_DINOv2_Weights.SENTINEL2_ALL_SOFTCON"]
    record = softcon.record("timm")
    assert record.unit == "reflectance"
    assert record.mean is not None
    assert record.mean[0] == pytest.approx(0.16129)
    landsat = known_weights()["torchgeo:ViTSmall16_Weights.LANDSAT_TM_TOA_MOCO"].record("timm")
    assert landsat.bands is not None
    assert landsat.mean is not None
    assert landsat.std is not None
    by_band = dict(zip(landsat.bands, zip(landsat.mean, landsat.std, strict=True), strict=True))
    assert by_band["red"] == pytest.approx((0, 0.4))
    assert by_band["lwir"] == pytest.approx((248.15, 70))


def test_every_record_has_a_place_in_the_cache() -> None:
    places = {cache_place(known.entry.source) for known in known_weights().values()}
    assert len(places) == len(known_weights())


def test_every_backbone_has_at_most_one_default() -> None:
    satmae = [known for name, known in known_weights().items() if name.startswith("satmae_")]
    assert {known.entry.licence for known in satmae} == {"CC BY-NC 4.0"}
    backbones = {known.entry.backbone for known in satmae}
    assert {pick_weights(name).entry.backbone for name in backbones} == backbones
    assert pick_weights("satmae_vit_l16_group").name == "satmae_vit_l16_group.fmow_sentinel_mae"
    tuned = pick_weights("satmae_vit_l16_group.fmow_sentinel_ft")
    assert tuned.file_name == "finetune-vit-large-e7.pth"


def test_several_weights_without_a_default() -> None:
    with pytest.raises(CheckpointError, match=r"several weights of vit_small_patch16_224; set .*"):
        pick_weights("vit_small_patch16_224")


FILE = """
inputs:
  rgb: {bands: [red, green, blue], mean: [0], std: [255]}
weights:
  a.b: {backbone: a, source: "https://x.y/a.pth", input: rgb, image_px: 32, training: t,
        citation: c}
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("std: [255]", "std: [255, 255]", "3 bands, 2 values in std"),
        (", std: [255]", "", "mean and std come together"),
        ("input: rgb", "input: rbg", "'rbg', which is not there"),
        ("https://", "http://", "is no https address and no hub name"),
        ("training", "trainig", r"the key 'weights\.a\.b\.training' is missing"),
        ("citation: c", "citation: c, sha256: abc", "should match pattern"),
    ],
)
def test_records_that_do_not_fit(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    (tmp_path / "a.yaml").write_text(FILE)
    assert read_weights(tmp_path / "a.yaml")["a.b"].input.statistics() is not None
    (tmp_path / "a.yaml").write_text(FILE.replace(old, new))
    with pytest.raises(ConfigError, match=sentence):
        read_weights(tmp_path / "a.yaml")


# -- TorchGeo's backbones ------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, out of the network's reach."""

    def offline(_: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("rsmeta.models.weights.download._open", offline)
    return tmp_path


def _put(name: str, content: Any) -> None:
    place = cache_place(known_weights()[name].entry.source)
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, place)


@pytest.mark.usefixtures("cached")
def test_a_backbone_of_torchgeo_is_built_with_its_weights() -> None:
    torch.manual_seed(0)
    vit = timm.create_model("vit_small_patch16_224", in_chans=13, num_classes=0, **TINY)
    _put(DINO, vit.state_dict())
    spec = ModelSpec(backbone=DINO, options=TINY, pretrained=True)
    backbone = build_backbone(spec, S2[::-1])
    own = backbone.vit.state_dict()
    theirs = vit.state_dict()
    assert torch.equal(own["patch_embed.proj.weight"], theirs["patch_embed.proj.weight"].flip(1))
    assert torch.equal(own["blocks.1.mlp.fc1.weight"], theirs["blocks.1.mlp.fc1.weight"])
    record = backbone.record
    assert (record.name, record.licence, record.unit) == (DINO, "CC-BY-4.0", "reflectance")
    assert record.mean == (0.0,) * 13
    assert record.std == pytest.approx((1.0,) * 13)
    assert record.image_px == 224
    assert backbone.load_report is not None
    assert len(backbone.load_report.sha256) == 64
    assert backbone.stem_report.all_matched
    x = torch.randn(1, 13, 32, 32)
    backbone.eval()
    torch.testing.assert_close(backbone(x).cls, vit.eval()(x.flip(1)), atol=2e-5, rtol=1e-4)


@pytest.mark.usefixtures("cached")
def test_a_file_without_the_last_norm_is_refused() -> None:
    state = timm.create_model("vit_small_patch16_224", in_chans=13, num_classes=0, **TINY)
    _put(DINO, {k: v for k, v in state.state_dict().items() if not k.startswith("norm.")})
    with pytest.raises(CheckpointError, match="lacks 2 of"):
        build_backbone(ModelSpec(backbone=DINO, options=TINY, pretrained=True), S2)


def test_offline_the_address_and_place_are_named(cached: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        build_backbone(ModelSpec(backbone=DINO, pretrained=True, options=TINY), S2)
    assert known_weights()[DINO].entry.source in str(caught.value)
    assert f"put it at {cached}/checkpoints/hf.co/torchgeo/vit_small_" in str(caught.value)


def test_without_pretrained_it_is_random_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    backbone = build_backbone(ModelSpec(backbone=DINO, options=TINY), S2)
    assert not backbone.has_weights
    assert backbone.record.bands is None
    assert "random weights; set model.pretrained=true" in caplog.text


def test_names_of_torchgeo() -> None:
    lines = dict(list_backbones())
    assert "B01, B02, " in lines[DINO]
    assert "CC-BY-4.0" in lines[DINO]
    with pytest.raises(UnknownNameError, match=r"did you mean 'torchgeo:ViTSmall16_Weights\.SENT"):
        build_backbone(ModelSpec(backbone=DINO.replace("DINO", "DIN0")), S2)


# -- torchvision's Swin --------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_swin_of_torchvision_computes_the_same_in_timm(version: int) -> None:
    torch.manual_seed(version)
    window, measures = 8, {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4]}
    parts = torchvision.models.swin_transformer
    kinds = (
        {}
        if version == 1
        else {"block": parts.SwinTransformerBlockV2, "downsample_layer": parts.PatchMergingV2}
    )
    theirs = parts.SwinTransformer(
        patch_size=[4, 4], window_size=[window, window], num_classes=5, **measures, **kinds
    )
    with torch.no_grad():
        for value in theirs.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    name = {1: "swin_tiny_patch4_window7_224", 2: "swinv2_tiny_window8_256"}[version]
    ours = timm.create_model(
        name, img_size=64, window_size=window, num_classes=5,
        **{k: tuple(v) if isinstance(v, list) else v for k, v in measures.items()},
    )  # fmt: skip
    state = theirs.state_dict()
    assert is_torchvision_swin(state)
    assert not is_torchvision_swin(ours.state_dict())
    ours.load_state_dict(timm_swin_state(state), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", list(SWIN))
def test_keys_of_the_published_sizes_are_all_known(name: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(weights=None)
        ours = timm.create_model(SWIN[name])
    converted = {k: v.shape for k, v in timm_swin_state(theirs.state_dict()).items()}
    assert converted == {k: v.shape for k, v in ours.state_dict().items()}


# -- SatMAE --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize(
    ("tag", "name"), [("", ".fmow_sentinel_mae"), (".fmow_sentinel_ft", ".fmow_sentinel_ft")]
)
def test_satmae_by_name(tag: str, name: str) -> None:
    full = f"satmae_vit_b16_group{name}"
    _put(full, {"model": pretrained("group"), "epoch": 199})
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "channel_embed": 8}
    ten = [band for band in S2 if band.name not in ("B01", "B09", "B10")]
    spec = ModelSpec(backbone=f"satmae_vit_b16_group{tag}", options=options, pretrained=True)
    backbone = build_backbone(spec, ten)
    assert backbone.record.name == full
    assert backbone.record.licence == "CC BY-NC 4.0"
    assert backbone.record.source == known_weights()[full].entry.source
    assert backbone.load_report is not None
    assert len(backbone.load_report.sha256) == 64


def test_satmae_tags_are_listed() -> None:
    lines = dict(list_backbones())
    tags = ".fmow_sentinel_mae, .fmow_sentinel_ft: CC BY-NC 4.0"
    assert tags in lines["satmae_vit_l16_group"]
    assert "no published weights" in lines["satmae_vit_b16_rgb"]


def test_satmae_tags_and_sizes_without_weights() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'satmae_vit_l16_group\.fmow_sent"):
        build_backbone(ModelSpec(backbone="satmae_vit_l16_group.fmow_sentinel_mea"), S2)
    with pytest.raises(CheckpointError, match="no published weights of satmae_vit_b16_rgb are kn"):
        build_backbone(ModelSpec(backbone="satmae_vit_b16_rgb", pretrained=True), RGB)


def test_a_swin_of_torchgeo_loads_through_its_name(tmp_path: Path) -> None:
    """From a file in torchvision's layout, for other bands than it expects."""
    parts = torchvision.models.swin_transformer
    theirs = parts.SwinTransformer(
        [4, 4], 16, [1, 1, 2, 1], [1, 2, 4, 4], [8, 8], num_classes=5,
        block=parts.SwinTransformerBlockV2, downsample_layer=parts.PatchMergingV2,
    )  # fmt: skip
    theirs.features[0][0] = torch.nn.Conv2d(9, 16, 4, 4)
    torch.save(theirs.state_dict(), tmp_path / "satlas.pth")
    spec = ModelSpec(
        backbone="torchgeo:Swin_V2_T_Weights.SENTINEL2_MI_MS_SATLAS",
        checkpoint=str(tmp_path / "satlas.pth"),
        options={"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 4]},
    )
    own = build_backbone(spec).eval()
    assert own.stem_report.all_matched
    assert own.load_report is not None
    assert own.load_report.missing == ()
    x = torch.randn(1, 9, 256, 256)
    with torch.no_grad():
        wanted = theirs.eval().norm(theirs.features(x)).permute(0, 3, 1, 2)
        torch.testing.assert_close(own(x).map, wanted, atol=2e-5, rtol=1e-4)
    nir = build_backbone(spec, [known_band("B08"), known_band("B01")])
    assert nir.stem_report.origins[0] == "B08"
