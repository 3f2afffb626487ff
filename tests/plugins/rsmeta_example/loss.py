"""A loss that wrong labels disturb little: cross-entropy mixed with the absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.losses import LOSSES, Loss
from rsmeta.losses.base import labelled

if TYPE_CHECKING:
    from torch import Tensor


class RobustOptions(Strict):
    """Options of the loss ``robust``."""

    share: float = Field(default=0.5, ge=0, le=1, description="share of the absolute error")


# The decorator is for those who import the package; the entry point alone would do.
@LOSSES.register("robust")
class Robust(Loss):
    """Cross-entropy mixed with the mean absolute error of probabilities.

    Source: "Normalized Loss Functions for Deep Learning with Noisy Labels", Ma et al., ICML 2020.
    """

    Options = RobustOptions

    def __init__(self, counts: Tensor, options: RobustOptions) -> None:
        super().__init__(counts, options)
        self.share = options.share

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        scores, known = labelled(logits, target)
        if not len(known):
            return logits.sum() * 0
        log_p = functional.log_softmax(scores, dim=1)
        true = log_p.gather(1, known[:, None])
        return ((self.share - 1) * true + self.share * 2 * (1 - true.exp())).mean()
