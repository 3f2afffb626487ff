"""Fold adapters into the weights for prediction, and take them out again exactly."""

from __future__ import annotations

import torch
from torch import nn

from rsmeta.peft.adapted import AdaptedModule


def merge(module: nn.Module) -> int:
    """Fold every adapter inside ``module`` into the weight that it adapts.

    Outputs stay equal within rounding (1e-5); prediction then costs what the bare backbone
    costs. All adapters are checked before the first weight is changed.

    Args:
        module: A network, or any part of it.

    Returns:
        How many modules hold merged adapters now.

    Raises:
        TunerError: An adapter is not linear.
    """
    adapted = _adapted(module)
    with torch.no_grad():
        for one in adapted:
            if not one.merged:
                one.weight_delta()
    for one in adapted:
        one.merge()
    return len(adapted)


def unmerge(module: nn.Module) -> None:
    """Undo ``merge``: every weight is again what it was, bit for bit."""
    for one in _adapted(module):
        one.unmerge()


def is_merged(module: nn.Module) -> bool:
    """Return whether any adapter inside ``module`` is merged."""
    return any(one.merged for one in _adapted(module))


def _adapted(module: nn.Module) -> list[AdaptedModule]:
    return [one for one in module.modules() if isinstance(one, AdaptedModule)]
