"""Losses of overlap: what is compared is the area of each class, not pixel by pixel.

The formulas are kornia's, which the project needs for augmentation anyway. They are given the
labelled pixels of the batch as one image: nothing is left to ignore, and a class needs to occur
in the batch only, not in every chip. Classes without a label in the batch are left out.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from rsmeta.losses.base import Loss, labelled

if TYPE_CHECKING:
    from torch import Tensor


class RegionLoss(Loss):
    """A loss over all labelled pixels of a batch at once.

    Args:
        counts: Not used.
        options: Its own settings.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, …) against a target (B, …)."""
        scores, labels = labelled(logits, target)
        if not len(labels):
            return scores.sum()
        return self.overlap(scores.T[None, :, :, None], labels[None, :, None])

    @abstractmethod
    def overlap(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of scores (1, K, N, 1) float32 against labels (1, N, 1), N > 0."""
