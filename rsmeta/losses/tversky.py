"""The Tversky loss, and the Jaccard loss as its special case."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import Field

from rsmeta.config.base import Strict
from rsmeta.losses.base import LOSSES
from rsmeta.losses.region import RegionLoss

if TYPE_CHECKING:
    from torch import Tensor


class TverskyOptions(Strict):
    """Settings of the Tversky loss."""

    alpha: float = Field(default=0.3, ge=0, description="weight of false positives")
    beta: float = Field(default=0.7, gt=0, description="weight of misses")


@LOSSES.register("tversky")
class Tversky(RegionLoss):
    """One minus the Tversky overlap of each class: misses and false positives weighed apart.

    Args:
        counts: Not used.
        options: ``TverskyOptions``.

    Source: Salehi et al. 2017, as in ``kornia.losses.tversky_loss``.
    """

    Options = TverskyOptions

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        chosen = cast("TverskyOptions", options)
        self.alpha, self.beta = chosen.alpha, chosen.beta

    def overlap(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of scores (1, K, N, 1) against labels (1, N, 1)."""
        return tversky(scores, labels, alpha=self.alpha, beta=self.beta)


@LOSSES.register("jaccard")
class Jaccard(RegionLoss):
    """One minus the Jaccard overlap (soft IoU) of each class.

    Args:
        counts: Not used.
        options: None to choose.

    Source: Rahman & Wang 2016; the Tversky overlap with both weights 1.
    """

    def overlap(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of scores (1, K, N, 1) against labels (1, N, 1)."""
        return tversky(scores, labels, alpha=1.0, beta=1.0)


def tversky(scores: Tensor, labels: Tensor, *, alpha: float, beta: float) -> Tensor:
    """Return one minus the mean Tversky overlap of scores (1, K, N, 1) with labels (1, N, 1)."""
    from kornia.losses import tversky_loss  # slow to import

    return tversky_loss(scores, labels, alpha, beta, ignore_index=None)
