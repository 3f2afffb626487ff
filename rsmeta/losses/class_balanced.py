"""The class-balanced loss: weights by the effective number of samples."""

from __future__ import annotations

import math
from typing import cast

import torch
from pydantic import Field
from torch import Tensor

from rsmeta.config.base import Strict
from rsmeta.losses.base import LOSSES, Loss
from rsmeta.losses.counts import filled_counts, mean_one
from rsmeta.losses.cross_entropy import mean_cross_entropy


class ClassBalancedOptions(Strict):
    """Settings of the class-balanced loss."""

    beta: float = Field(
        default=0.9999,
        gt=0,
        lt=1,
        description="classes with far more labels than 1 / (1 - beta) weigh alike; pixels are "
        "many: bring it nearer to 1",
    )


@LOSSES.register("class_balanced")
class ClassBalanced(Loss):
    """Cross-entropy weighted by one over the effective number of samples of each class.

    Args:
        counts: Labels of each class, (K,); a class without any weighs as the rarest other.
        options: ``ClassBalancedOptions``.

    Source: Cui et al. 2019, on the softmax cross-entropy.
    """

    Options = ClassBalancedOptions
    weights: Tensor

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        beta = cast("ClassBalancedOptions", options).beta
        effective = -torch.expm1(filled_counts(counts) * math.log(beta)) / (1 - beta)
        weights = mean_one(effective.reciprocal(), counts)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        return mean_cross_entropy(logits.float(), target, weights=self.weights)
