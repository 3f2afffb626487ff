"""Logit adjustment: the balanced softmax with a temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import Field

from rsmeta.config.base import Strict
from rsmeta.losses.base import LOSSES, Loss, per_class
from rsmeta.losses.counts import class_priors
from rsmeta.losses.cross_entropy import mean_cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


class LogitAdjustedOptions(Strict):
    """Settings of logit adjustment."""

    tau: float = Field(
        default=1.0, ge=0, description="factor of the log-priors; 1: as balanced_softmax"
    )


@LOSSES.register("logit_adjusted")
class LogitAdjusted(Loss):
    """Cross-entropy of scores plus tau times the logarithm of each class's share.

    Args:
        counts: Labels of each class, (K,); a class without any counts as the rarest other.
        options: ``LogitAdjustedOptions``.

    Source: Menon et al. 2021, equation 10.
    """

    Options = LogitAdjustedOptions
    offsets: Tensor

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        offsets = cast("LogitAdjustedOptions", options).tau * class_priors(counts).log()
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        return mean_cross_entropy(logits.float() + per_class(self.offsets, logits), target)
