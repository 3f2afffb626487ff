"""Losses of numbers, per pixel or image: how far estimates lie from what was measured.

They are registered apart from those of classes, which take scores per class. Differences count in
standard deviations of the training labels, so that a loss, a learning rate and a gradient norm
mean the same whatever the unit.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.losses.base import Loss
from rsmeta.registry import Registry

#: Losses of numbers by name.
REGRESSION_LOSSES: Registry[type[Loss]] = Registry("regression loss", Loss)


class RegressionLoss(Loss):
    """Mean over all that was measured of a function of the standardised difference.

    Args:
        spread: Standard deviation of the training labels, (1,), in their unit.
        options: Its own settings.
    """

    spread: Tensor

    def __init__(self, spread: Tensor, options: Strict) -> None:
        super().__init__(spread, options)
        self.register_buffer("spread", spread.float().reshape(()), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, shape () float32; 0, with a gradient of 0, where nothing is measured.

        Args:
            logits: Estimates (B, 1) of images or (B, 1, H, W) of pixels, in the labels' unit.
            target: What was measured, (B,) or (B, H, W); NaN: nothing was.
        """
        estimated, known = logits.float().squeeze(1), target.isfinite()
        difference = (estimated - torch.where(known, target, 0.0)) / self.spread
        total = (self.of_difference(difference) * known).sum()
        return total / known.sum().clamp_min(1)

    @abstractmethod
    def of_difference(self, difference: Tensor) -> Tensor:
        """Return the loss of each difference, in standard deviations, of the same shape."""


class HuberOptions(Strict):
    """Settings of the Huber loss."""

    delta: float = Field(
        default=1.0, gt=0, description="standard deviations from which differences count linearly"
    )


@REGRESSION_LOSSES.register("mse")
class SquaredError(RegressionLoss):
    """Mean squared difference: the mean is estimated, and outliers weigh most."""

    def of_difference(self, difference: Tensor) -> Tensor:
        """Return the squares."""
        return difference.square()


@REGRESSION_LOSSES.register("mae")
class AbsoluteError(RegressionLoss):
    """Mean absolute difference: the median is estimated, and outliers weigh little."""

    def of_difference(self, difference: Tensor) -> Tensor:
        """Return the absolute values."""
        return difference.abs()


@REGRESSION_LOSSES.register("huber")
class Huber(RegressionLoss):
    """Squared for small differences, linear for large ones.

    Args:
        spread: Standard deviation of the training labels, (1,).
        options: ``HuberOptions``.

    Source: Huber 1964.
    """

    Options = HuberOptions

    def __init__(self, spread: Tensor, options: Strict) -> None:
        super().__init__(spread, options)
        self.delta = cast("HuberOptions", options).delta

    def of_difference(self, difference: Tensor) -> Tensor:
        """Return the loss of each difference."""
        zero = torch.zeros_like(difference)
        return functional.huber_loss(difference, zero, reduction="none", delta=self.delta)
