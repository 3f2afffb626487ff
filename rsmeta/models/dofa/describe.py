"""Say what a checkpoint is that makes its filters of wavelengths: a DOFA, or one built like it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rsmeta.models.dofa.generator import AT, has_generator
from rsmeta.models.names import DOFA, DOFA_LICENCE
from rsmeta.models.timm.names import size_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.models.checkpoint import Checkpoint

_BLOCK = re.compile(r"blocks\.(\d+)\.")


def describe_dofa(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself, as plain values; none: it is no DOFA."""
    return describe_generated(
        checkpoint, "DOFA", DOFA_LICENCE, AT, lambda dim: f"{DOFA}{'l16' if dim >= 1024 else 'b16'}"
    )


def describe_generated(
    checkpoint: Checkpoint, family: str, licence: str, at: str, name: Callable[[int], str]
) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself, as plain values; none: it is of another family.

    Args:
        checkpoint: What the file holds.
        family: What to call it.
        licence: Of the published weights.
        at: How the names of its generator's tensors begin.
        name: Returns the backbone for a width.
    """
    state = {key.removeprefix("module."): value for key, value in checkpoint.tensors.items()}
    outputs, places = state.get(f"{at}weight_generator.fc_weight.weight"), state.get("pos_embed")
    if not has_generator(state, at) or outputs is None or places is None:
        return None
    dim = places.shape[-1]
    depth = len({m[1] for key in state if (m := _BLOCK.match(key))})
    patch_px = round((len(outputs) / dim) ** 0.5)
    return {
        "family": family,
        "backbone": name(dim),
        "size": size_name(dim, depth),
        "dim": dim,
        "depth": depth,
        "patch_px": patch_px,
        "image_px": round((places.shape[1] - 1) ** 0.5) * patch_px,
        "bands": "any, by wavelength",
        "licence": f"{licence} as its authors publish it",
    }
