"""SatMAE computes what the published reference computes: tokens, blocks, features, logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from rsmeta.config.model import ModelSpec
from rsmeta.geo.bands import Band, generic_band
from rsmeta.geo.sensors import load_sensor
from rsmeta.models.satmae.build import build_satmae
from rsmeta.models.satmae.positions import embed_dates, sincos_1d, sincos_2d

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
#: The ten bands of the reference's input, in its order.
TEN = tuple(
    band for band in load_sensor("sentinel2_l1c").bands if band.name not in ("B01", "B09", "B10")
)
BANDS: dict[str, tuple[Band, ...]] = {"group": TEN, "rgb": RGB, "temporal": RGB}
SIZES: dict[str, dict[str, Any]] = {
    "group": {"embed_dim": 96, "depth": 3, "num_heads": 4},
    "rgb": {"embed_dim": 96, "depth": 3, "num_heads": 4},
    "temporal": {"embed_dim": 392, "depth": 2, "num_heads": 4},
}
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture
def folder(fixtures_dir: Path, kind: str) -> Path:
    return fixtures_dir / f"satmae_{kind}"


def _checkpoint(path: Path, tmp_path: Path, **changes: Tensor) -> str:
    """Return the reference's weights as a file in float32, some of them changed."""
    state = {key: value.float() for key, value in load_file(path).items()} | changes
    save_file(state, tmp_path / "weights.safetensors")
    return str(tmp_path / "weights.safetensors")


def _build(kind: str, checkpoint: str, **options: Any) -> Any:
    spec = ModelSpec(
        backbone=f"satmae_vit_b16_{kind}", checkpoint=checkpoint,
        options={**SIZES[kind], **options},
    )  # fmt: skip
    return build_satmae(spec, BANDS[kind]).eval()


def _check(backbone: Any, io: dict[str, Tensor]) -> Tensor:
    """Compare every recorded number; return the features."""
    inputs = [io[key] for key in ("input", "timestamps") if key in io]
    with torch.no_grad():
        tokens = backbone.vit.embed(*inputs)
        blocks = backbone.vit.run(tokens, range(backbone.depth))
        features: Tensor = backbone(*inputs).cls
    torch.testing.assert_close(tokens, io["expected.tokens_in"], **CLOSE)
    for index, block in blocks.items():
        torch.testing.assert_close(block, io[f"expected.block_{index}"], **CLOSE)
    torch.testing.assert_close(features, io["expected.features"], **CLOSE)
    return features


def _fill(backbone: Any, io: dict[str, Tensor]) -> None:
    """Give what the checkpoint lacks the random values that the reference had there."""
    lacking = {k.removeprefix("own_init."): v for k, v in io.items() if k.startswith("own_init.")}
    assert set(backbone.load_report.missing) == set(lacking)
    backbone.vit.load_state_dict(lacking, strict=False)


@pytest.mark.parametrize("pool", [0, 1])
@pytest.mark.parametrize("kind", ["group", "rgb"])
def test_fine_tuned(folder: Path, kind: str, pool: int) -> None:
    weights = folder / f"vit_gp{pool}.weights.safetensors"
    backbone = _build(kind, str(weights))
    assert backbone.vit.layout.global_pool == bool(pool)
    io = load_file(folder / f"vit_gp{pool}.io.safetensors")
    features = _check(backbone, io)
    state = load_file(weights)
    logits = functional.linear(features, state["head.weight"], state["head.bias"])
    torch.testing.assert_close(logits, io["expected.logits"], **CLOSE)


@pytest.mark.parametrize("kind", ["group", "rgb"])
def test_begins_like_the_reference(folder: Path, kind: str) -> None:
    io = load_file(folder / "vit_gp0.io.safetensors")
    options = {**SIZES[kind], "patch_size": 8, "img_size": 32}
    if kind == "group":
        options["channel_embed"] = 32
    spec = ModelSpec(backbone=f"satmae_vit_b16_{kind}", options=options)
    own = build_satmae(spec, BANDS[kind]).vit.state_dict()
    for key, value in io.items():
        if key.startswith("init."):
            torch.testing.assert_close(own[key.removeprefix("init.")], value, **CLOSE)


@pytest.mark.parametrize("pool", [0, 1])
@pytest.mark.parametrize("kind", ["group", "rgb"])
def test_pretrained(folder: Path, kind: str, pool: int) -> None:
    backbone = _build(kind, str(folder / "mae.weights.safetensors"), global_pool=bool(pool))
    io = load_file(folder / f"mae_to_vit_gp{pool}.io.safetensors")
    _fill(backbone, io)
    _check(backbone, io)


@pytest.mark.parametrize("resized", ["at build", "at run time"])
@pytest.mark.parametrize("kind", ["group", "rgb"])
def test_another_image_size(folder: Path, kind: str, resized: str) -> None:
    options = {"img_size": 48} if resized == "at build" else {}
    backbone = _build(kind, str(folder / "mae.weights.safetensors"), **options)
    io = load_file(folder / "mae_to_vit_img48_official.io.safetensors")
    torch.testing.assert_close(backbone.vit.places(6, 6), io["pos_embed"], **CLOSE)
    _check(backbone, io)
    assert backbone.load_report.reshaped == (("pos_embed",) if options else ())


@pytest.mark.parametrize("resized", ["at build", "at run time"])
@pytest.mark.parametrize("kind", ["group", "rgb"])
def test_another_image_size_interpolated(
    folder: Path, tmp_path: Path, kind: str, resized: str
) -> None:
    io = load_file(folder / "mae_to_vit_img48_interp.io.safetensors")
    source = _checkpoint(
        folder / "mae.weights.safetensors", tmp_path, pos_embed=io["ckpt_pos_embed"]
    )
    options = {"img_size": 48} if resized == "at build" else {}
    backbone = _build(kind, source, pos_embed="interpolate", **options)
    torch.testing.assert_close(backbone.vit.places(6, 6), io["interp_pos_embed"], **CLOSE)
    _check(backbone, io)


@pytest.mark.parametrize("pool", [0, 1])
@pytest.mark.parametrize("kind", ["temporal"])
def test_temporal_fine_tuned(folder: Path, tmp_path: Path, kind: str, pool: int) -> None:
    state = {k: v.float() for k, v in load_file(folder / "vit.weights_fp16.safetensors").items()}
    if pool:
        state = {f"fc_{k}" if k.startswith("norm.") else k: v for k, v in state.items()}
    save_file(state, tmp_path / "weights.safetensors")
    backbone = _build(kind, str(tmp_path / "weights.safetensors"))
    io = load_file(folder / f"vit_gp{pool}.io.safetensors")
    features = _check(backbone, io)
    logits = functional.linear(features, state["head.weight"], state["head.bias"])
    torch.testing.assert_close(logits, io["expected.logits"], **CLOSE)


@pytest.mark.parametrize("pool", [0, 1])
@pytest.mark.parametrize("kind", ["temporal"])
def test_temporal_pretrained(folder: Path, kind: str, pool: int) -> None:
    weights = folder / "mae_depth1.weights_fp16.safetensors"
    backbone = _build(kind, str(weights), global_pool=bool(pool), depth=1)
    assert next(backbone.parameters()).dtype == torch.float32
    io = load_file(folder / f"mae_to_vit_depth1_gp{pool}.io.safetensors")
    _fill(backbone, io)
    _check(backbone, io)


@pytest.mark.parametrize("kind", ["temporal"])
def test_tables(folder: Path, kind: str) -> None:
    wanted = load_file(folder / "pos_embed_1d.safetensors")
    assert kind == "temporal"
    torch.testing.assert_close(sincos_1d(wanted["pos"], 128).float(), wanted["dim128"], **CLOSE)
    torch.testing.assert_close(
        sincos_1d(torch.arange(3), 32).float(), wanted["sincos1d_dim32_3"], **CLOSE
    )
    torch.testing.assert_close(sincos_2d(4, 4, 64)[0], wanted["sincos2d_dim64_grid4_cls"], **CLOSE)
    torch.testing.assert_close(sincos_2d(6, 6, 96)[0], wanted["sincos2d_dim96_grid6_cls"], **CLOSE)
    torch.testing.assert_close(sincos_2d(4, 4, 8), wanted["mae_pos_embed_init"], **CLOSE)
    dates = embed_dates(torch.stack([wanted["pos"][:3]] * 3, dim=-1)[None], 384)
    torch.testing.assert_close(dates[0, :, 128:256], wanted["dim128"][:3], **CLOSE)
