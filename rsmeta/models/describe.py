"""Say what a checkpoint file holds, without building anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsmeta.errors import enumerate_names
from rsmeta.files import file_sha256
from rsmeta.models.checkpoint import open_checkpoint
from rsmeta.models.families import BACKBONES
from rsmeta.models.weights import recognise_weights

#: A tensor that the weights of every bundle have.
BUNDLE_TENSOR = "prepare.mean"


def describe_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint file says of itself, as plain values.

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
    if BUNDLE_TENSOR in state:
        parts = dict.fromkeys(key.partition(".")[0] for key in state)
        return {**told, "family": "trained tensors of an rsmeta bundle, without its bundle.yaml",
                "holds": enumerate_names(list(parts))}  # fmt: skip
    for name in BACKBONES.names():
        found = BACKBONES.get(name).describe(checkpoint)
        if found is not None:
            return _with_use({**told, **found}, Path(path))
    return {**told, "family": "unknown", "holds": enumerate_names(list(state), 6)}


def _with_use(told: dict[str, Any], path: Path) -> dict[str, Any]:
    """Add which known weights the file holds, and the settings that load it."""
    backbone, bands = told.get("backbone"), told.get("bands")
    fits = None if told.get("size") == "custom" else backbone
    channels = bands if isinstance(bands, int) else None
    known = recognise_weights(path.name, told["sha256"], backbone=fits, channels=channels)
    if backbone is None:
        return {**told, **known}
    name = known.get("known_as", backbone)
    return {**told, **known, "use": f"model.backbone={name} model.checkpoint={path}"}
