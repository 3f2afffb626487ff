"""Reweighting: classes weighted by a power of their frequency."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import Field

from rsmeta.config.base import Strict
from rsmeta.losses.base import LOSSES, Loss
from rsmeta.losses.counts import frequency_weights
from rsmeta.losses.cross_entropy import mean_cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


class ReweightedOptions(Strict):
    """Settings of the reweighted loss."""

    power: float = Field(
        default=1.0, ge=0, description="weight = frequency to the minus this; 0.5: square root"
    )


@LOSSES.register("reweighted")
class Reweighted(Loss):
    """Cross-entropy weighted by one over a power of each class's frequency.

    With a power of 0.5 it is ``ce`` with ``class_weights: balanced``.

    Args:
        counts: Labels of each class, (K,); a class without any weighs as the rarest other.
        options: ``ReweightedOptions``.

    Source: generalised reweighting of Zhang et al. 2021 (DisAlign).
    """

    Options = ReweightedOptions
    weights: Tensor

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        weights = frequency_weights(counts, cast("ReweightedOptions", options).power)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        return mean_cross_entropy(logits.float(), target, weights=self.weights)
