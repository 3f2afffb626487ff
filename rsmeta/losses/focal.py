"""The focal loss: what is right already counts little."""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.losses.base import IGNORE_INDEX, LOSSES, Loss, deterministic_form


class FocalOptions(Strict):
    """Settings of the focal loss."""

    gamma: float = Field(
        default=2.0, ge=0, description="how little labels count that are right; 0: cross-entropy"
    )


@LOSSES.register("focal")
class Focal(Loss):
    """Cross-entropy times (1 - p)^gamma, p the probability of the true class.

    Args:
        counts: Not used.
        options: ``FocalOptions``.

    Source: Lin et al. 2017, equation 4, without alpha.
    """

    Options = FocalOptions

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        self.gamma = cast("FocalOptions", options).gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        logits, target = deterministic_form(logits.float(), target)
        values = functional.cross_entropy(
            logits, target, ignore_index=IGNORE_INDEX, reduction="none"
        )
        # above 0, where a power below 1 has no finite slope
        missing = (-torch.expm1(-values)).clamp_min(torch.finfo(values.dtype).eps)
        count = (target != IGNORE_INDEX).sum().clamp_min(1)
        return (missing.pow(self.gamma) * values).sum() / count
