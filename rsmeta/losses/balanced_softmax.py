"""The balanced softmax: scores compete as if classes were drawn as often as in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.losses.base import LOSSES, Loss, per_class
from rsmeta.losses.counts import class_priors
from rsmeta.losses.cross_entropy import mean_cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.config.base import Strict


@LOSSES.register("balanced_softmax")
class BalancedSoftmax(Loss):
    """Cross-entropy of scores plus the logarithm of each class's share of the labels.

    Prediction uses the scores alone, and so treats classes as equally frequent.

    Args:
        counts: Labels of each class, (K,); a class without any counts as the rarest other.
        options: None to choose.

    Source: Ren et al. 2020.
    """

    log_prior: Tensor

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        self.register_buffer("log_prior", class_priors(counts).log(), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        return mean_cross_entropy(logits.float() + per_class(self.log_prior, logits), target)
