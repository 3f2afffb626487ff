"""LADE: the balanced softmax, and scores freed of the label distribution."""

from __future__ import annotations

import math
from typing import cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.losses.base import LOSSES, Loss, labelled
from rsmeta.losses.counts import class_priors


class LADEOptions(Strict):
    """Settings of LADE."""

    weight_of_estimate: float = Field(
        default=0.1, ge=0, description="weight of the estimate beside the balanced softmax"
    )
    regularisation: float = Field(
        default=0.1, ge=0, description="how strongly the normalising term is held near 0"
    )


@LOSSES.register("lade")
class LADE(Loss):
    """Balanced softmax plus a lower bound that disentangles scores from the label distribution.

    Args:
        counts: Labels of each class, (K,); a class without any counts as the rarest other.
        options: ``LADEOptions``.

    Source: Hong et al. 2021: the regularised Donsker-Varadhan bound for each class,
    weighted by its share.
    """

    Options = LADEOptions
    prior: Tensor

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        chosen = cast("LADEOptions", options)
        self.weight_of_estimate = chosen.weight_of_estimate
        self.regularisation = chosen.regularisation
        self.register_buffer("prior", class_priors(counts), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        scores, labels = labelled(logits, target)
        if not len(labels):
            return scores.sum()
        softmax = functional.cross_entropy(scores + self.prior.log(), labels)
        return softmax - self.weight_of_estimate * self._bound(scores, labels)

    def _bound(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the bound, summed over classes, of scores (N, K) with labels (N,)."""
        count = len(self.prior)
        of_true = scores.gather(1, labels[:, None])[:, 0]
        sums = torch.zeros_like(self.prior).index_add(0, labels, of_true)
        means = sums / torch.bincount(labels, minlength=count).clamp_min(1)
        balanced = scores - self.prior.log() - math.log(count)
        norm = balanced.logsumexp(dim=0) - math.log(len(labels))
        return (self.prior * (means - norm - self.regularisation * norm.square())).sum()
