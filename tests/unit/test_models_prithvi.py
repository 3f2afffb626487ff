"""Prithvi-EO-2.0: features as a plain reading of its description has them; files as published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError, UnknownNameError
from rsmeta.geo.bands import generic_band
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import build_backbone, describe_checkpoint, list_backbones
from rsmeta.models.names import PRITHVI_BANDS
from rsmeta.models.prithvi import SIZES
from tests.exported import merged_and_onnx_follow
from tests.unit.test_export import _bundle

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

HLS = tuple(generic_band(name) for name in PRITHVI_BANDS)
DIM, DEPTH, HEADS, PATCH, DATES = 32, 2, 2, 8, 4
TINY = {"embed_dim": DIM, "depth": DEPTH, "num_heads": HEADS, "img_size": 32, "patch_size": PATCH}
CONTEXT = {"date": "2023-07-14", "location": [47.5, -122.25]}


def _table(dates: int, rows: int, cols: int) -> Tensor:
    """Return positions (1, 1 + t h w, D): sines and cosines of column, row and date, one by one."""

    def embed(number: int, width: int) -> list[float]:
        angles = [number / 10000 ** (k / (width / 2)) for k in range(width // 2)]
        return [*np.sin(angles), *np.cos(angles)]

    sixteenth = DIM // 16
    places = [
        [*embed(col, 6 * sixteenth), *embed(row, 6 * sixteenth), *embed(date, 4 * sixteenth)]
        for date in range(dates) for row in range(rows) for col in range(cols)
    ]  # fmt: skip
    return torch.tensor([[[0.0] * DIM, *places]], dtype=torch.float32)


def _official(*, context: bool = True) -> dict[str, Tensor]:
    """Return tensors as published: a masked autoencoder of four dates."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int, around: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.1 + around

    state = {
        "cls_token": noise(1, 1, DIM),
        "pos_embed": _table(DATES, 4, 4),
        "patch_embed.proj.weight": noise(DIM, 6, 1, PATCH, PATCH),
        "patch_embed.proj.bias": noise(DIM),
        "norm.weight": noise(DIM, around=1),
        "norm.bias": noise(DIM),
    }
    if context:
        state["temporal_embed_enc.scale"] = torch.tensor([0.3])
        state["location_embed_enc.scale"] = torch.tensor([0.2])
    for i in range(DEPTH):
        for part, shape in (
            ("norm1", (DIM,)), ("attn.qkv", (3 * DIM, DIM)), ("attn.proj", (DIM, DIM)),
            ("norm2", (DIM,)), ("mlp.fc1", (4 * DIM, DIM)), ("mlp.fc2", (DIM, 4 * DIM)),
        ):  # fmt: skip
            state[f"blocks.{i}.{part}.weight"] = noise(*shape, around=float(len(shape) == 1))
            state[f"blocks.{i}.{part}.bias"] = noise(shape[0])
    return {f"encoder.{key}": value for key, value in state.items()} | {
        "decoder.mask_token": noise(1, 1, 16),
        "decoder.decoder_pos_embed": noise(1, 65, 16),
        "decoder.decoder_embed.weight": noise(16, DIM),
        "decoder.temporal_embed_dec.scale": noise(1),
    }


def _plain(state: dict[str, Tensor], x: Tensor, when: Any = None, where: Any = None) -> Tensor:
    """Return the tokens that the description of Prithvi has for images (B, 6, H, W) of one date."""
    own = {key.removeprefix("encoder."): value for key, value in state.items()}

    def norm(tokens: Tensor, name: str) -> Tensor:
        return F.layer_norm(tokens, (DIM,), own[f"{name}.weight"], own[f"{name}.bias"], 1e-5)

    def linear(tokens: Tensor, name: str) -> Tensor:
        return F.linear(tokens, own[f"{name}.weight"], own[f"{name}.bias"])

    def pair(first: float, second: float) -> Tensor:
        omega = 1.0 / 10000 ** (torch.arange(DIM // 4) / (DIM / 4))
        angles = [torch.tensor(float(n)) * omega for n in (first, second)]
        return torch.cat([part for a in angles for part in (a.sin(), a.cos())])

    weight, bias = own["patch_embed.proj.weight"], own["patch_embed.proj.bias"]
    tokens = F.conv3d(x[:, :, None], weight, bias, stride=(1, PATCH, PATCH))
    place = _table(1, *tokens.shape[-2:])
    tokens = tokens.flatten(2).transpose(1, 2) + place[:, 1:]
    if when is not None:
        tokens = tokens + own["temporal_embed_enc.scale"] * pair(*when)
    if where is not None:
        tokens = tokens + own["location_embed_enc.scale"] * pair(*where)
    cls = (own["cls_token"] + place[:, :1]).expand(len(x), -1, -1)
    tokens = torch.cat([cls, tokens], dim=1)
    for block in (f"blocks.{i}" for i in range(DEPTH)):
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in linear(norm(tokens, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, -1)
        )
        weights = (q @ k.transpose(-1, -2) / (DIM // HEADS) ** 0.5).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        tokens = tokens + linear(mixed, f"{block}.attn.proj")
        inner = F.gelu(linear(norm(tokens, f"{block}.norm2"), f"{block}.mlp.fc1"))
        tokens = tokens + linear(inner, f"{block}.mlp.fc2")
    return norm(tokens, "norm")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the published format."""
    file = tmp_path_factory.mktemp("prithvi") / "Prithvi_EO_V2_300M_TL.pt"
    torch.save(_official(), file)
    return file


def _spec(official: Path, **keys: Any) -> ModelSpec:
    options = {**TINY, **keys.pop("options", {})}
    given = {"backbone": "prithvi_vit_300m_tl", "checkpoint": str(official), "options": options}
    return ModelSpec(**{**given, **keys})


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize(
    ("options", "when", "where"),
    [
        ({}, None, None),
        ({"date": "2023-07-14"}, (2023, 195), None),
        ({"location": [47.5, -122.25]}, None, (47.5, -122.25)),
        (CONTEXT, (2023, 195), (47.5, -122.25)),
    ],
    ids=["image", "date", "location", "both"],
)
def test_features_are_those_of_the_description(
    official: Path, size: Any, options: Any, when: Any, where: Any
) -> None:
    ours = build_backbone(_spec(official, options=options), HLS).eval()
    x = torch.randn(2, 6, *size)
    with torch.no_grad():
        wanted, found = _plain(_official(), x, when, where), ours(x)
    torch.testing.assert_close(found.cls, wanted[:, 0], atol=2e-5, rtol=2e-5)
    tokens = found.map.flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, wanted[:, 1:], atol=2e-5, rtol=2e-5)
    assert ours.load_report.missing == ()
    assert all("decoder" in name for name in ours.load_report.unexpected)
    assert ours.stem_report.all_matched
    assert (ours.record.licence, ours.record.unit) == ("Apache-2.0", "reflectance")
    assert ours.record.mean[3] == pytest.approx(0.2734)


def test_bands_are_found_by_name_and_wavelength(official: Path) -> None:
    order = ["B12", "B8A", "B04", "B03", "B02", "B11"]
    bands = load_sensor("sentinel2_l2a").select(order).bands
    backbone = build_backbone(_spec(official), bands).eval()
    assert backbone.stem_report.all_matched
    x = torch.randn(1, 6, 32, 32)
    with torch.no_grad():
        wanted = build_backbone(_spec(official), HLS).eval()(x).map
        torch.testing.assert_close(backbone(x[:, [5, 3, 2, 1, 0, 4]]).map, wanted)
    edge = build_backbone(_spec(official), (generic_band("rededge071"),))
    assert "red" in edge.stem_report.origins[0]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("prithvi_vit_300m", CONTEXT, "set model.backbone=prithvi_vit_300m_tl"),
        ("prithvi_vit_300m_tl", {"location": [95, 8]}, "location"),
        ("prithvi_vit_300m_tl", {"date": "summer"}, "date"),
        ("prithvi_vit_300m_tl", {"embed_dim": 40, "num_heads": 2}, "multiple of 16"),
        ("prithvi_vit_300m_tl", {"img_size": 33}, "multiple of 8"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    official: Path, name: str, options: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        build_backbone(_spec(official, backbone=name, options=options), HLS)


def test_foreign_files_are_refused(official: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="is no Prithvi checkpoint"):
        build_backbone(_spec(tmp_path / "other.pth"), HLS)
    with pytest.raises(CheckpointError, match=r"depth=2, .* and prithvi_vit_300m_tl has .*depth=3"):
        build_backbone(_spec(official, options={"depth": 3}), HLS)
    torch.save(_official(context=False), tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="embeds no location"):
        build_backbone(_spec(tmp_path / "plain.pth", options={"location": [0, 0]}), HLS)
    plain = build_backbone(_spec(tmp_path / "plain.pth", backbone="prithvi_vit_300m"), HLS)
    assert not plain.vit.context.any()


def test_names_sizes_and_inspect(official: Path) -> None:
    names = dict(list_backbones())
    for size, measures in SIZES.items():
        assert f"Prithvi-EO-2.0 {size}" in names[f"prithvi_vit_{size}"]
        with torch.device("meta"):
            spec = ModelSpec(backbone=f"prithvi_vit_{size}", options={"depth": 1})
            backbone = build_backbone(spec, HLS)
        assert (backbone.dim, backbone.patch_px) == (measures.dim, measures.patch_px)
    assert "(published weights .hls_mae: Apache-2.0)" in names["prithvi_vit_600m_tl"]
    told = describe_checkpoint(official)
    assert (told["family"], told["size"], told["bands"]) == ("Prithvi-EO-2.0", "custom", 6)
    assert told["embeds"] == "date and location, if they are given"
    with pytest.raises(UnknownNameError):
        build_backbone(ModelSpec(backbone="prithvi_vit_200m"), HLS)


def test_adapters_merge_and_onnx_follows(official: Path, tmp_path: Path) -> None:
    """Date and location stay in the merged bundle, which needs the file no more."""
    options = {**TINY, **CONTEXT}
    model = {"backbone": "prithvi_vit_300m_tl", "options": options, "checkpoint": str(official)}
    saved = _bundle(tmp_path / "bundle", {"method": "lora", "rank": 2}, model)
    merged = merged_and_onnx_follow(tmp_path / "bundle", saved, tmp_path)
    assert merged.backbone.vit.context.any()
