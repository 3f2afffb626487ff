"""The Dice loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from rsmeta.config.base import Strict
from rsmeta.losses.base import LOSSES
from rsmeta.losses.region import RegionLoss

if TYPE_CHECKING:
    from torch import Tensor


class DiceOptions(Strict):
    """Settings of the Dice loss."""

    average: Literal["macro", "micro"] = Field(
        default="macro", description="mean over classes, or one overlap of all classes together"
    )


@LOSSES.register("dice")
class Dice(RegionLoss):
    """One minus the Dice overlap (soft F1) of each class.

    Args:
        counts: Not used.
        options: ``DiceOptions``.

    Source: Milletari et al. 2016, as in ``kornia.losses.dice_loss``.
    """

    Options = DiceOptions

    def __init__(self, counts: Tensor, options: Strict) -> None:
        super().__init__(counts, options)
        self.average = cast("DiceOptions", options).average

    def overlap(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of scores (1, K, N, 1) against labels (1, N, 1)."""
        from kornia.losses import dice_loss  # slow to import

        return dice_loss(scores, labels, average=self.average, ignore_index=None)
