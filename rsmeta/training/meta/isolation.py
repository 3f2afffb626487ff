"""Keep a meta step apart from training: afterwards, everything but the scales is as it was."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.seed import isolate_rng

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from rsmeta.training.module import TaskModule


@contextlib.contextmanager
def isolated(module: nn.Module, rhos: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let ``rhos`` alone require gradients, with everything deterministic, inside the block.

    Inside, all modules are in evaluation mode and the weights require no gradient, so that none
    is computed for them. Afterwards modes, ``requires_grad``, ``.grad``, buffers, and the states
    of all random number generators are restored. Gradient checkpointing is off, because it would
    recompute blocks with the present weights instead of those of a look-ahead.

    Args:
        module: Everything that a step touches: network, loss, augmentation.
        rhos: Every ``rho``.
    """
    modes = [(m, m.training) for m in module.modules()]
    checkpointing = [m for m in module.modules() if getattr(m, "grad_checkpointing", False)]
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with isolate_rng(), torch.enable_grad():
            for one, _ in modes:
                one.training = False
            for one in checkpointing:
                one.grad_checkpointing = False  # type: ignore[assignment]  # a plain flag
            for parameter, _, _ in parameters:
                parameter.requires_grad_(False)
            for rho in rhos:
                rho.requires_grad_(True)
            yield
    finally:
        for one, mode in modes:
            one.training = mode
        for one in checkpointing:
            one.grad_checkpointing = True  # type: ignore[assignment]
        for parameter, required, gradient in parameters:
            parameter.requires_grad_(required)
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def seeded(module: TaskModule, *place: object) -> None:
    """Seed what is drawn from now on by the run, the place and the process."""
    place = (module.settings.seed, *place, module.global_rank)
    torch.manual_seed(zlib.crc32(repr(place).encode()))
