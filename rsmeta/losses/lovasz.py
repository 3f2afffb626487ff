"""The Lovász-softmax loss."""

from __future__ import annotations

import torch
from torch import Tensor

from rsmeta.losses.base import LOSSES
from rsmeta.losses.region import RegionLoss


@LOSSES.register("lovasz")
class Lovasz(RegionLoss):
    """The Lovász extension of one minus the IoU of each class.

    Args:
        counts: Not used.
        options: None to choose.

    Source: Berman et al. 2018, over the classes present, as in
    ``kornia.losses.lovasz_softmax_loss``.
    """

    def overlap(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of scores (1, K, N, 1) against labels (1, N, 1)."""
        from kornia.losses import lovasz_softmax_loss  # slow to import

        present = (torch.bincount(labels.flatten(), minlength=scores.shape[1]) > 0).float()
        # kornia divides by all classes; the mean is to be over those that occur
        return lovasz_softmax_loss(scores, labels, present / present.mean())
