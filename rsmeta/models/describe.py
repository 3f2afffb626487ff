"""Say what a checkpoint file holds, without building anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rsmeta.models.checkpoint import file_sha256, open_checkpoint
from rsmeta.models.families import BACKBONES

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.models.checkpoint import StateDict

_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def describe_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint file tells of itself, as plain values.

    Raises:
        CheckpointError: The file cannot be read as a checkpoint.
    """
    checkpoint = open_checkpoint(path)
    state = checkpoint.tensors
    told: dict[str, Any] = {
        "sha256": file_sha256(path),
        "tensors": len(state),
        "parameters": sum(tensor.numel() for tensor in state.values()),
    }
    for name in BACKBONES.names():
        found = BACKBONES.get(name).describe(checkpoint)
        if found is not None:
            return {**told, **found}
    return {**told, **_vision_transformer(state)}


def _vision_transformer(state: StateDict) -> dict[str, Any]:
    stem = next((v for k, v in state.items() if k.endswith("patch_embed.proj.weight")), None)
    if stem is None or stem.ndim != 4:
        return {}
    blocks = {m[1] for key in state if (m := _BLOCK.search(key))}
    return {
        "family": "vision transformer",
        "dim": stem.shape[0],
        "depth": len(blocks),
        "bands": stem.shape[1],
        "patch_px": stem.shape[-1],
    }
