"""Small SatMAE backbones and checkpoints in the published form, for several test files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rsmeta.config.model import ModelSpec
from rsmeta.geo.bands import Band, generic_band
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import build_backbone

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
S2 = {band.name: band for band in load_sensor("sentinel2_l1c").bands}
TEN = tuple(band for name, band in S2.items() if name not in ("B01", "B09", "B10"))
TINY: dict[str, dict[str, Any]] = {
    "group": {"embed_dim": 32, "depth": 2, "num_heads": 2, "channel_embed": 8},
    "rgb": {"embed_dim": 32, "depth": 2, "num_heads": 2},
    "temporal": {"embed_dim": 400, "depth": 2, "num_heads": 2, "mlp_ratio": 0.25},
}
BANDS = {"group": TEN, "rgb": RGB, "temporal": RGB}
KINDS = list(TINY)
SMALL = {"patch_size": 8, "img_size": 32}


def spec_of(kind: str, checkpoint: Any = None, **options: Any) -> ModelSpec:
    sizes = {} if checkpoint is not None else SMALL
    return ModelSpec(
        backbone=f"satmae_vit_b16_{kind}",
        options={**TINY[kind], **sizes, **options},
        checkpoint=None if checkpoint is None else str(checkpoint),
    )


def build(
    kind: str, checkpoint: Any = None, *, bands: tuple[Band, ...] | None = None, **options: Any
) -> Any:
    return build_backbone(spec_of(kind, checkpoint, **options), bands or BANDS[kind])


def state_of(kind: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {key: value.clone() for key, value in build(kind).vit.state_dict().items()}


def pretrained(kind: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a masked autoencoder, as published: a decoder, no group for cls."""
    state = state_of(kind)
    state.pop("channel_cls_embed", None)
    decoder = {
        "mask_token": torch.zeros(1, 1, 16),
        "decoder_embed.weight": torch.zeros(16, 32),
        "decoder_blocks.0.attn.qkv.weight": torch.zeros(48, 16),
        "decoder_pred.0.bias": torch.zeros(4),
    }
    return state | decoder


def write_official(folder: Path) -> Path:
    """Write a multispectral checkpoint as SatMAE's training program writes it."""
    state = pretrained("group")
    parameters = [torch.nn.Parameter(state["cls_token"].clone())]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.95))
    parameters[0].sum().backward()
    optimizer.step()
    args = argparse.Namespace(
        model="mae_vit_base_patch16", model_type="group_c", mask_ratio=0.75, resume="",
        output_dir=Path("out"), lr=np.float64(1e-4),
        grouped_bands=[[0, 1, 2, 6], [3, 4, 5, 7], [8, 9]],
    )  # fmt: skip
    content = {
        "model": state, "optimizer": optimizer.state_dict(), "epoch": np.int64(199), "args": args,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7},
    }  # fmt: skip
    torch.save(content, folder / "pretrain-vit-base-e199.pth")
    return folder / "pretrain-vit-base-e199.pth"
