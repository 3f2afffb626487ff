"""timm vision transformers as backbones: names, options, weights, features, sites."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.files import file_sha256
from rsmeta.geo.bands import generic_band
from rsmeta.models.checkpoint import read_checkpoint
from rsmeta.models.names import timm_names as backbone_names
from rsmeta.models.timm.build import TimmViT, build_timm

if TYPE_CHECKING:
    from pathlib import Path

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
BANDS = tuple(generic_band(n) for n in ("blue", "green", "red", "nir", "swir16", "swir22"))
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}


def _spec(**options: Any) -> ModelSpec:
    keys = {key: options.pop(key) for key in ("checkpoint", "backbone", "stem") if key in options}
    return ModelSpec(options={**TINY, **options}, **keys)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A checkpoint of the tiny RGB network, with a classifier as published ones have."""
    torch.manual_seed(1)
    state = build_timm(_spec(), RGB).vit.state_dict()
    state |= {"head.weight": torch.zeros(5, 24), "head.bias": torch.zeros(5)}
    save_file(state, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("patch", [4, 8, 14, 16])
@pytest.mark.parametrize("size", [(32, 32), (30, 41), (5, 64)])
def test_any_patch_and_any_size(patch: int, size: tuple[int, int]) -> None:
    backbone = build_timm(_spec(patch_size=patch, img_size=2 * patch), BANDS).eval()
    x = torch.randn(2, 6, *size)
    features = backbone(x)
    rows, cols = -(-size[0] // patch), -(-size[1] // patch)
    assert features.map.shape == (2, 24, rows, cols)
    assert features.cls.shape == (2, 24)
    maps = backbone.dense(x, (1, 0, 1))
    assert [m.shape for m in maps] == [features.map.shape] * 3
    assert torch.equal(maps[0], maps[2])
    torch.testing.assert_close(maps[0], features.map)
    assert not torch.equal(maps[0], maps[1])


@pytest.mark.parametrize(
    "name",
    ["vit_wee_patch16_reg1_gap_256", "deit_tiny_distilled_patch16_224",
     "vit_base_patch16_siglip_224", "vit_base_patch16_clip_224", "deit3_small_patch16_224",
     "vit_small_patch14_dinov2"],
)  # fmt: skip
def test_relatives_use_all_their_parameters(name: str) -> None:
    options = {"embed_dim": 24, "depth": 2, "num_heads": 2}
    backbone = build_timm(ModelSpec(backbone=name, options=options), BANDS)
    backbone.dense(torch.randn(1, 6, 40, 40), (1,))[0].square().sum().backward()
    unused = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not unused
    assert backbone(torch.randn(1, 6, 40, 40)).cls.shape == (1, 24)


def test_sites_point_at_their_modules() -> None:
    backbone = build_timm(_spec(mlp_ratio=2), RGB)
    sites = backbone.sites()
    assert [site.name for site in sites[:9]] == [
        f"0.{position}"
        for position in ("norm1", "q", "k", "v", "out", "norm2", "mlp1", "mlp2", "block")
    ]
    for site in sites:
        module = backbone.get_submodule(site.module)
        if isinstance(module, torch.nn.Linear):
            assert module.in_features == site.in_features
            rows = site.rows or (0, module.out_features)
            assert rows[1] - rows[0] == site.out_features


def test_equals_the_published_reference(fixtures_dir: Path) -> None:
    folder = fixtures_dir / "metalora_timm"
    io = load_file(folder / "none.io.safetensors")
    source = str(folder / "backbone.weights.safetensors")
    options = {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "img_size": 32}
    backbone = build_timm(ModelSpec(options=options, checkpoint=source), RGB).eval()
    wanted = io["expected.features"]
    torch.testing.assert_close(backbone(io["input"]).cls, wanted, atol=2e-5, rtol=1e-4)


def test_random_weights_are_known_as_random() -> None:
    backbone = build_timm(_spec(), BANDS)
    assert not backbone.has_weights
    assert backbone.record.bands is None
    assert backbone.record.source is None
    assert backbone.record.name == "vit_tiny_patch16_224"
    assert backbone.stem_report.origins == ("random",) * 6


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_said_as_that(
    value: float, weights: Path, tmp_path: Path
) -> None:
    state = load_file(weights)
    state["blocks.0.attn.proj.weight"][0, 0] = value
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"holds NaN or infinity in 1 of .*attn.proj.weight"):
        build_timm(_spec(checkpoint=str(tmp_path / "w.safetensors")), BANDS)


def test_weights_are_loaded_and_told(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        backbone = build_timm(_spec(checkpoint=str(weights)), BANDS)
    report = backbone.load_report
    assert report is not None
    own = backbone.vit.state_dict()
    assert report.matched == len(own)
    assert report.missing == report.reshaped == ()
    assert report.unexpected == ("head.bias", "head.weight")
    assert len(report.sha256 or "") == 64
    assert "matched, 0 reshaped, 0 missing, 2 unexpected" in caplog.text
    state = load_file(weights)
    assert torch.equal(own["blocks.1.mlp.fc1.weight"], state["blocks.1.mlp.fc1.weight"])
    stem = state["patch_embed.proj.weight"]
    factor = backbone.stem_report.filters[0].factor
    torch.testing.assert_close(own["patch_embed.proj.weight"][:, 0], stem[:, 2] * factor)
    assert backbone.record.name == "vit_tiny_patch16_224"  # which of its weights, nobody said
    assert backbone.record.mean == (0.5, 0.5, 0.5)  # in which they agree
    assert backbone.record.licence == "apache-2.0"
    assert backbone.record.bands == ("red", "green", "blue")


def test_embeddings_are_resampled(weights: Path) -> None:
    spec = _spec(checkpoint=str(weights), img_size=64, patch_size=4)
    report = build_timm(spec, RGB).load_report
    assert report is not None
    assert set(report.reshaped) == {"pos_embed", "patch_embed.proj.weight"}


@pytest.mark.parametrize("wrapper", ["model", "state_dict", None])
def test_pth_files(weights: Path, tmp_path: Path, wrapper: str | None) -> None:
    state: Any = load_file(weights)
    content = {wrapper: state, "epoch": 3} if wrapper else state
    torch.save(content, tmp_path / "tiny.pth")
    backbone = build_timm(_spec(checkpoint=str(tmp_path / "tiny.pth")), RGB)
    loaded = backbone.vit.state_dict()["blocks.0.attn.qkv.weight"]
    assert torch.equal(loaded, state["blocks.0.attn.qkv.weight"])


class Malicious:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.path.write_text, ("ran",))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"model": Malicious(marker)}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="refused: it holds more than tensors"):
        read_checkpoint(tmp_path / "bad.pth")
    assert not marker.exists()


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*check model\.checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"this is text, not tensors")
        with pytest.raises(CheckpointError, match=r"as a checkpoint|refused"):
            read_checkpoint(tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"embed_dim": 48}, "has shape"), ({"depth": 3}, "lacks 12 of"),
     ({"init_values": 1e-5}, "lacks 4 of")],
)  # fmt: skip
def test_weights_of_another_network(weights: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        build_timm(_spec(checkpoint=str(weights), **options), RGB)


def test_weights_for_unnamed_bands(tmp_path: Path) -> None:
    source = str(tmp_path / "six.safetensors")
    save_file(build_timm(_spec(), BANDS).vit.state_dict(), source)
    with pytest.raises(CheckpointError, match=r"expects 6 bands .* model\.stem\.bands"):
        build_timm(_spec(checkpoint=source), BANDS)
    with pytest.raises(CheckpointError, match="names 1 bands"):
        build_timm(_spec(checkpoint=source, stem={"bands": ["red"]}), BANDS)
    named = {"bands": [band.name for band in BANDS]}
    backbone = build_timm(_spec(checkpoint=source, stem=named), BANDS[::-1])
    assert backbone.stem_report.all_matched
    stem = load_file(source)["patch_embed.proj.weight"]
    assert torch.equal(backbone.vit.patch_embed.proj.weight, stem.flip(1))


def test_offline_names_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no\nnetwork")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    with pytest.raises(CheckpointError) as caught:
        build_timm(ModelSpec(backbone=name, pretrained=True), RGB)
    sentence = str(caught.value)
    assert "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k" in sentence
    assert f"put it at {tmp_path}" in sentence
    assert "model.checkpoint=" in sentence
    assert "\n" not in sentence


def test_a_name_that_fits_several_weights_is_refused() -> None:
    with pytest.raises(CheckpointError) as caught:
        build_timm(ModelSpec(pretrained=True), RGB)
    sentence = str(caught.value)
    assert "has several weights" in sentence
    assert "vit_tiny_patch16_224.augreg_in21k, " in sentence


def test_hub_weights_are_loaded_like_a_file(
    monkeypatch: pytest.MonkeyPatch, weights: Path, tmp_path: Path
) -> None:
    asked = []

    def fetch(repo: str, file: str, *, revision: str) -> str:
        asked.append((repo, file, revision))
        return str(weights)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    name = "vit_tiny_patch16_224.augreg_in21k"
    backbone = build_timm(ModelSpec(backbone=name, options=TINY, pretrained=True), RGB)
    assert asked == [(f"timm/{name}", "model.safetensors", "main")]
    assert backbone.has_weights
    assert backbone.record.name == name
    assert backbone.load_report is not None
    assert backbone.load_report.source == f"hf:timm/{name}"
    assert backbone.load_report.sha256 == file_sha256(weights)


def test_names() -> None:
    assert "vit_tiny_patch16_224" in backbone_names()
    assert "resnet50" not in backbone_names()
    with pytest.raises(UnknownNameError, match="did you mean 'vit_tiny_patch16_224'"):
        build_timm(_spec(backbone="vit_tiny_patch16_22"), RGB)
    with pytest.raises(UnknownNameError, match="did you mean 'augreg_in21k'"):
        build_timm(_spec(backbone="vit_tiny_patch16_224.augreg_in21"), RGB)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"embed_dims": 24}, "'embed_dims', which .*did you mean 'embed_dim'"),
        ({"in_chans": 4}, "'in_chans', which"),
        ({"embed_dim": 25}, "timm cannot build"),
        ({"num_heads": "many"}, "timm cannot build"),
        ({"patch_size": [8, 16]}, "must be square"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_timm(_spec(**options), RGB)


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises another way to compile
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="refused: it is a TorchScript program"):
        read_checkpoint(tmp_path / "net.pt")


def test_type() -> None:
    assert isinstance(build_timm(_spec(), RGB), TimmViT)
