"""Cross entropy over labelled pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.losses.base import LOSSES

if TYPE_CHECKING:
    from rsmeta.config.loss import LossSpec
    from rsmeta.losses.base import ClassCounts

#: Target value of pixels without label.
IGNORE_INDEX = -1


class CrossEntropy(nn.Module):
    """Mean cross entropy of labelled pixels; 0, with a gradient of 0, where there are none.

    Args:
        weights: One weight per class, (K,), unitless; none: all 1.
        label_smoothing: Share of the target that is spread evenly over all classes.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        # settings make the weights anew: they are no part of a saved state
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, shape ().

        Args:
            logits: Scores (B, K, H, W) of any float type.
            target: Class indices (B, H, W) int64; -1: no label.
        """
        total = functional.cross_entropy(
            logits.float(),
            target,
            weight=self.weights,
            ignore_index=IGNORE_INDEX,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        labelled = target != IGNORE_INDEX
        if self.weights is None:
            mass = labelled.sum().to(total.dtype)
        else:
            mass = (self.weights[target.clamp_min(0)] * labelled).sum()
        return total / torch.where(mass > 0, mass, 1.0)


def balanced_weights(class_counts: ClassCounts) -> Tensor:
    """Return one over the square root of each class's frequency, 1 on average over the classes.

    A class without pixels gets the largest weight among the others.

    Args:
        class_counts: Labelled training pixels of each class, (K,).

    Returns:
        Weights (K,) float32, unitless.
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    present = counts > 0
    if not present.any():
        return torch.ones(len(counts))
    weights = counts.where(present, 1.0).rsqrt()
    weights = torch.where(present, weights, weights[present].max())
    return (weights / weights[present].mean()).float()


@LOSSES.register("cross_entropy")
def cross_entropy(spec: LossSpec, class_counts: ClassCounts) -> CrossEntropy:
    """Build the cross entropy that settings describe."""
    weights = balanced_weights(class_counts) if spec.class_weights == "balanced" else None
    return CrossEntropy(weights, spec.label_smoothing)
