"""Means over the processes that train together, through which gradients pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from torch import Tensor

from rsmeta.data.class_sampling import world

if TYPE_CHECKING:
    from collections.abc import Sequence


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each tensor over all processes; the tensors themselves if there is one.

    Differentiable: a strategy may differentiate through averaged gradients any number of times.

    Args:
        tensors: Of the same shapes in every process.
    """
    if world()[1] == 1:
        return list(tensors)
    flat: Tensor = _Mean.apply(torch.cat([t.reshape(-1) for t in tensors]))
    parts = torch.split(flat, [t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]


class _Mean(torch.autograd.Function):
    """The mean over processes, in the backward pass, too.

    Process r contributes 1/R to each mean, and every process's loss depends on that mean; the
    gradients of all losses are added up and divided by R, so the backward pass is the same mean.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        total = flat.clone()
        torch.distributed.all_reduce(total)
        return total / torch.distributed.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        mean: Tensor = _Mean.apply(gradient.contiguous())
        return mean
