"""The label-distribution-aware margin loss: rare classes must win by more."""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field
from torch import Tensor

from rsmeta.config.base import Strict
from rsmeta.losses.base import LOSSES, Loss, per_class
from rsmeta.losses.counts import filled_counts
from rsmeta.losses.cross_entropy import mean_cross_entropy


class LDAMOptions(Strict):
    """Settings of the margin loss."""

    max_margin: float = Field(
        default=0.5, gt=0, description="margin of the rarest class, before scale"
    )
    scale: float = Field(
        default=25.0, gt=0, description="factor of the margins: the scale of the scores"
    )


@LOSSES.register("ldam")
class LDAM(Loss):
    """Cross-entropy after the true class gave up a margin, large for rare classes.

    The margins follow one over the fourth root of the class counts. Scores are taken as they
    are: a cosine head has scaled them already, and ``scale`` should be that head's scale.

    Args:
        counts: Labels of each class, (K,); a class without any gets the largest margin.
        options: ``LDAMOptions``.

    Source: Cao et al. 2019.
    """

    Options = LDAMOptions
    margins: Tensor

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        chosen = cast("LDAMOptions", options)
        raw = filled_counts(counts).pow(-0.25)
        margins = chosen.scale * chosen.max_margin * raw / raw.max()
        self.register_buffer("margins", margins.float(), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        scores = logits.float()
        classes = torch.arange(len(self.margins), device=target.device)
        true = per_class(classes, scores) == target.unsqueeze(1)
        lowered = torch.where(true, scores - per_class(self.margins, scores), scores)
        return mean_cross_entropy(lowered, target)
