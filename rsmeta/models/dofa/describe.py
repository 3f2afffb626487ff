"""Say what a DOFA checkpoint is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rsmeta.models.dofa.generator import GENERATOR, has_generator
from rsmeta.models.names import DOFA, DOFA_LICENCE
from rsmeta.models.timm.names import size_name

if TYPE_CHECKING:
    from rsmeta.models.checkpoint import Checkpoint

_BLOCK = re.compile(r"blocks\.(\d+)\.")


def describe_dofa(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return what a checkpoint says of itself, as plain values; none: it is no DOFA."""
    state = {key.removeprefix("module."): value for key, value in checkpoint.tensors.items()}
    outputs, places = state.get(f"{GENERATOR[0]}fc_weight.weight"), state.get("pos_embed")
    if not has_generator(state) or outputs is None or places is None:
        return None
    dim = places.shape[-1]
    depth = len({m[1] for key in state if (m := _BLOCK.match(key))})
    patch_px = round((len(outputs) / dim) ** 0.5)
    return {
        "family": "DOFA",
        "backbone": f"{DOFA}{'l16' if dim >= 1024 else 'b16'}",
        "size": size_name(dim, depth),
        "dim": dim,
        "depth": depth,
        "patch_px": patch_px,
        "image_px": round((places.shape[1] - 1) ** 0.5) * patch_px,
        "bands": "any, by wavelength",
        "licence": f"{DOFA_LICENCE} as its authors publish it",
    }
