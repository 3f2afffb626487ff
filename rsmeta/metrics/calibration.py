"""The calibration error, from sums per bin: memory does not grow with what is compared.

Imported where it is used: torchmetrics is slow to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchmetrics import Metric

if TYPE_CHECKING:
    from torch import Tensor


class CalibrationError(Metric):
    """Expected calibration error: how far confidence lies from accuracy, on average.

    Confidences fall into bins of equal width; each bin counts with its share of all
    predictions, and an empty one not at all.

    Args:
        bins: Number of bins.

    Source: Guo et al. 2017, equation 3.
    """

    full_state_update = False  # a batch adds to the sums, whatever they are

    count: Tensor
    confidence: Tensor
    right: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.add_state("count", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("confidence", torch.zeros(bins), dist_reduce_fx="sum")
        self.add_state("right", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, right: Tensor) -> None:
        """Add predictions.

        Args:
            confidence: Probability of the predicted class, (N,), in [0, 1].
            right: Whether the prediction is right, (N,) bool.
        """
        # upper ends belong to their bin, as published: (0, 0.1], (0.1, 0.2], …
        place = (confidence * self.bins).ceil().long().clamp(1, self.bins) - 1
        self.count = self.count.index_add(0, place, torch.ones_like(place))
        self.confidence = self.confidence.index_add(0, place, confidence.float())
        self.right = self.right.index_add(0, place, right.long())

    def compute(self) -> Tensor:
        """Return the error, shape (), in [0, 1]; NaN where nothing was predicted."""
        return (self.confidence - self.right).abs().sum() / self.count.sum()
