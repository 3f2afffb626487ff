"""Bring the tensors of torchvision's Swin transformers, V1 and V2, under timm's names.

Both compute the same; they differ in names, in where a stage's merging of patches is counted, and
in V2's bias of keys, which torchvision stores and sets to zero and timm does not store.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

#: Derived from the size of the window; timm computes them itself.
_COMPUTED = ("relative_position_index", "relative_coords_table")

_STEM = {"0": "patch_embed.proj", "2": "patch_embed.norm"}
_MLP = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
_FEATURE = re.compile(r"features\.(\d+)\.(\w+)\.(.+)")
_QKV_BIAS = "attn.qkv.bias"


def is_torchvision_swin(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of a Swin transformer of torchvision."""
    return "features.0.0.weight" in state and "features.1.0.attn.qkv.weight" in state


def timm_swin_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a torchvision Swin under timm's names.

    Args:
        state: Tensors by torchvision's names.

    Source: ``torchvision.models.swin_transformer`` and ``timm.models.swin_transformer(_v2)``.
    """
    second = any(key.endswith("attn.logit_scale") for key in state)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith(_COMPUTED):
            continue
        name = _name(key)
        if second and name.endswith(_QKV_BIAS):
            block = name.removesuffix("qkv.bias")
            renamed[f"{block}q_bias"], _, renamed[f"{block}v_bias"] = value.chunk(3)
        else:
            renamed[name] = value
    return renamed


def _name(key: str) -> str:
    """Return timm's name: odd entries of ``features`` are stages, even ones merge patches."""
    found = _FEATURE.fullmatch(key)
    if found is None:
        return key.replace("head.", "head.fc.", 1) if key.startswith("head.") else key
    index, part, rest = int(found[1]), found[2], found[3]
    if index == 0:
        return f"{_STEM[part]}.{rest}" if part in _STEM else key
    if index % 2 == 0:
        return f"layers.{index // 2}.downsample.{part}.{rest}"
    layer, _, kind = rest.rpartition(".")
    return f"layers.{index // 2}.blocks.{part}.{_MLP.get(layer, layer)}.{kind}"
