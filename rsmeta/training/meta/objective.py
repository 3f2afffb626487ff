"""What scales minimise where it is not the training loss: a mean over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.losses.base import ClassCounts, labelled

if TYPE_CHECKING:
    from rsmeta.config.meta import Objective


class ClassObjective(nn.Module):
    """Plain cross-entropy, averaged within each class of a batch and then over classes.

    Args:
        name: ``balanced`` weights all classes alike, ``tail`` the rarest third and no other,
            ``worst`` each by the exponential of its loss.
        counts: Training labels of each class, (K,).

    Source: ``worst`` is group DRO, Sagawa et al., ICLR 2020, with classes for groups.
    """

    tail: Tensor

    def __init__(self, name: Objective, counts: ClassCounts) -> None:
        super().__init__()
        self._name = name
        sizes = torch.as_tensor(counts, dtype=torch.float64)
        found = [k for k in sizes.argsort(stable=True).tolist() if sizes[k] > 0]
        tail = torch.zeros(len(sizes), dtype=torch.bool)
        tail[found[: max(1, len(found) // 3)]] = True
        self.register_buffer("tail", tail, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the objective, shape (); arguments as those of a ``Loss``."""
        scores, classes = labelled(logits, target)
        losses = functional.cross_entropy(scores, classes, reduction="none")
        count = logits.shape[1]
        sizes = torch.bincount(classes, minlength=count)
        means = losses.new_zeros(count).index_add(0, classes, losses) / sizes.clamp(min=1)
        return (self._weights(means.detach(), sizes > 0) * means).sum()

    def _weights(self, means: Tensor, present: Tensor) -> Tensor:
        """Return each class's weight, (K,); they add up to 1, or are 0 if no class counts."""
        if self._name == "worst":
            weights = torch.where(present, means, -torch.inf).softmax(dim=0)
            return torch.nan_to_num(weights)
        counted = present & self.tail.to(present.device) if self._name == "tail" else present
        return counted / counted.sum().clamp(min=1)
