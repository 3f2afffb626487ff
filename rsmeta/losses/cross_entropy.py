"""Cross-entropy, plain or with class weights, and the mean that other losses build on."""

from __future__ import annotations

from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.losses.base import IGNORE_INDEX, LOSSES, Loss, deterministic_form
from rsmeta.losses.counts import frequency_weights


class CrossEntropyOptions(Strict):
    """Settings of the cross-entropy."""

    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="balanced: weight classes by one over the square root of their frequency",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread evenly over all classes"
    )


@LOSSES.register("ce")
@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    """Cross-entropy, on request with class weights or smoothed labels.

    Args:
        counts: Labels of each class, (K,).
        options: ``CrossEntropyOptions``.
    """

    Options = CrossEntropyOptions
    weights: Tensor | None

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        chosen = cast("CrossEntropyOptions", options)
        self.label_smoothing = chosen.label_smoothing
        balanced = chosen.class_weights == "balanced"
        weights = frequency_weights(counts, 0.5) if balanced else None
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        return mean_cross_entropy(
            logits.float(), target, weights=self.weights, label_smoothing=self.label_smoothing
        )


def mean_cross_entropy(
    logits: Tensor, target: Tensor, *, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy of what is labelled; 0, with a gradient of 0, if nothing is.

    Args:
        logits: Scores (B, K, …) float32.
        target: Class indices (B, …) int64; -1: no label.
        weights: One weight per class, (K,); the sum is divided by the weights of the labels.
        label_smoothing: Share of the target that is spread evenly over all classes.
    """
    logits, target = deterministic_form(logits, target)
    total = functional.cross_entropy(
        logits,
        target,
        weight=weights,
        ignore_index=IGNORE_INDEX,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    known = target != IGNORE_INDEX
    if weights is None:
        mass = known.sum().to(total.dtype)
    else:
        mass = (weights[target.clamp_min(0)] * known).sum()
    return total / torch.where(mass > 0, mass, 1.0)
