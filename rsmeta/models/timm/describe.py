"""Tell a vision transformer of timm, a Swin or a whole CLIP from the tensors of a checkpoint."""

from __future__ import annotations

import re
from math import isqrt
from typing import TYPE_CHECKING, Any

from rsmeta.models.timm.names import fitting_name, size_name
from rsmeta.models.timm.torchvision_swin import is_torchvision_swin, timm_swin_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rsmeta.models.checkpoint import Checkpoint

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_CLIP_BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.")
_STAGE_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.")

#: Tensors of a block that only EVA's have.
_EVA = ("q_bias", "attn.q_proj.weight", "mlp.fc1_g.weight", "gamma_1")


def describe_timm(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself, as plain values; none: it is nothing of timm's.

    ``backbone`` is the name in timm whose tensors fit; the number of attention heads and the
    activation cannot be seen in tensors.
    """
    state = {key.removeprefix("module."): value for key, value in checkpoint.tensors.items()}
    if "visual.class_embedding" in state and "visual.conv1.weight" in state:
        return _clip(state)
    if is_torchvision_swin(state):
        told = _swin(timm_swin_state(state))
        return {**told, "family": f"{told['family']}, in torchvision's layout"}
    stem = state.get("patch_embed.proj.weight")
    if stem is None or stem.ndim != 4:
        return None
    if any(_STAGE_BLOCK.match(key) for key in state):
        return _swin(state)
    return _vision_transformer(state, stem)


def _vision_transformer(state: Mapping[str, Tensor], stem: Tensor) -> dict[str, Any]:
    dim, bands, patch_px = stem.shape[0], stem.shape[1], stem.shape[-1]
    depth = len({m[1] for key in state if (m := _BLOCK.match(key))})
    eva = any(f"blocks.0.{part}" in state or f"blocks.0.attn.{part}" in state for part in _EVA)
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    image_px, size = _image_px(state, patch_px, registers), size_name(dim, depth)
    told: dict[str, Any] = {
        "family": "EVA" if eva else "vision transformer",
        "backbone": fitting_name(state, "eva" if eva else "vit", size, image_px),
        "size": size,
        "dim": dim,
        "depth": depth,
        "patch_px": patch_px,
        "image_px": image_px,
        "bands": bands,
        **_head(state),
        "registers": registers,
    }
    if "dist_token" in state:
        told["distillation"] = "a token of its own"
    return told


def _swin(state: Mapping[str, Tensor]) -> dict[str, Any]:
    second = "layers.0.blocks.0.attn.logit_scale" in state
    stem = state["patch_embed.proj.weight"]
    found = {m.groups() for key in state if (m := _STAGE_BLOCK.match(key))}
    depths = [sum(stage == str(i) for stage, _ in found) for i in range(len({s for s, _ in found}))]
    table = state.get("layers.0.blocks.0.attn.relative_position_bias_table")
    window = None if table is None else (round(table.shape[0] ** 0.5) + 1) // 2
    size = size_name(stem.shape[0], tuple(depths))
    return {
        "family": "Swin transformer V2" if second else "Swin transformer",
        "backbone": fitting_name(state, "swinv2" if second else "swin", size, None),
        "size": size,
        "dim": stem.shape[0],
        "depth": depths,
        "patch_px": stem.shape[-1],
        "window": window,
        "bands": stem.shape[1],
        **_head(state),
    }


def _clip(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stem = state["visual.conv1.weight"]
    dim, patch_px = stem.shape[0], stem.shape[-1]
    depth = len({m[1] for key in state if (m := _CLIP_BLOCK.match(key))})
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    size = size_name(dim, depth)
    text = {key.removeprefix("text."): value for key, value in state.items()}
    told: dict[str, Any] = {
        "family": "CLIP, image and text tower, in open_clip's layout",
        "backbone": f"vit_{size}_patch{patch_px}_clip_{side * patch_px}",
        "size": size,
        "dim": dim,
        "depth": depth,
        "patch_px": patch_px,
        "image_px": side * patch_px,
        "bands": stem.shape[1],
        "training_stage": "contrast of images and texts",
    }
    if size == "custom":
        told["backbone"] = None
    if "visual.proj" in state:
        told["projection_dim"] = state["visual.proj"].shape[1]
    if "ln_final.weight" in text and "positional_embedding" in text:
        told["text_dim"] = text["ln_final.weight"].shape[0]
        told["text_tokens"] = text["positional_embedding"].shape[0]
    return told


def _head(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Say what stands on the encoder; CLIP's projection is kept where a classifier would be."""
    names = [name for name in ("head.weight", "head.fc.weight") if name in state]
    if not names:
        return {"training_stage": "encoder alone", "classes": None}
    outputs = state[names[0]].shape[0]
    bias = state.get(names[0].replace("weight", "bias"))
    if "norm_pre.weight" in state and (bias is None or not bias.any()):
        stage = "contrast of images and texts"
        return {"training_stage": stage, "classes": None, "projection_dim": outputs}
    return {"training_stage": "with a classifier", "classes": outputs}


def _image_px(state: Mapping[str, Tensor], patch_px: int, registers: int) -> int | None:
    """Return the side of the images that learned positions are for; none: there are none."""
    places = state.get("pos_embed")
    if places is None or places.ndim < 3:
        return None
    if places.ndim == 4:
        return places.shape[1] * patch_px
    tokens = ("cls_token" in state) + ("dist_token" in state)
    for prefix in (tokens + registers, tokens, 0):  # some networks give those tokens no place
        side = isqrt(max(places.shape[1] - prefix, 0))
        if side and side**2 == places.shape[1] - prefix:
            return side * patch_px
    return None
