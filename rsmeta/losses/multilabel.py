"""Losses of images with any number of labels each: one yes or no per label.

They are registered apart from those of classes, of which an image has just one.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.losses.base import Loss
from rsmeta.registry import Registry

#: Losses of sets of labels by name.
MULTILABEL_LOSSES: Registry[type[Loss]] = Registry("multilabel loss", Loss)


class BinaryOptions(Strict):
    """Settings of the binary cross-entropy."""

    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="balanced: an image with a label weighs by the root of how many lack it",
    )


class AsymmetricOptions(Strict):
    """Settings of the asymmetric loss."""

    gamma_negative: float = Field(
        default=4.0, ge=0, description="how little labels that are rightly not found count"
    )
    gamma_positive: float = Field(
        default=0.0, ge=0, description="how little labels that are rightly found count"
    )
    clip: float = Field(
        default=0.05, ge=0, lt=1, description="probability below which a wrong label counts as 0"
    )


@MULTILABEL_LOSSES.register("bce")
class BinaryCrossEntropy(Loss):
    """Cross-entropy of each label by itself.

    Args:
        counts: Training images with and without each label, (2, K).
        options: ``BinaryOptions``.
    """

    Options = BinaryOptions
    weights: Tensor | None

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        balanced = cast("BinaryOptions", options).class_weights == "balanced"
        weights = (counts[1] / counts[0].clamp_min(1)).clamp_min(1e-3).sqrt().float()
        self.register_buffer("weights", weights if balanced else None, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of scores (B, K) against a target (B, K): 1, 0, or -1 for not known."""
        known, scores = target >= 0, logits.float()
        losses = functional.binary_cross_entropy_with_logits(
            scores, target.to(scores.dtype).clamp_min(0), reduction="none", pos_weight=self.weights
        )
        return (losses * known).sum() / known.sum().clamp_min(1)


@MULTILABEL_LOSSES.register("asymmetric")
class Asymmetric(Loss):
    """Focal on absent labels, which are many, and less so on present ones.

    Args:
        counts: Training images with and without each label, (2, K); it needs none.
        options: ``AsymmetricOptions``.

    Source: Ridnik et al. 2021 (arXiv:2009.14119), equations 4 to 7.
    """

    Options = AsymmetricOptions

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        self.options = cast("AsymmetricOptions", options)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of scores (B, K) against a target (B, K): 1, 0, or -1 for not known."""
        known, scores = target >= 0, logits.float()
        found = scores.sigmoid()
        wrong = (found - self.options.clip).clamp_min(0)
        present = (1 - found) ** self.options.gamma_positive * functional.logsigmoid(scores)
        absent = wrong**self.options.gamma_negative * torch.log1p(-wrong.clamp_max(1 - 1e-6))
        losses = -torch.where(target > 0, present, absent)
        return (losses * known).sum() / known.sum().clamp_min(1)
