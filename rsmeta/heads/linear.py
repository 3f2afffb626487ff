"""The linear head: one score per class and patch, enlarged to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.heads.base import HEADS, HeadInput, LinearPixelHead

if TYPE_CHECKING:
    from collections.abc import Sequence


@HEADS.register("linear")
class LinearHead(LinearPixelHead):
    """A pointwise convolution of the last feature map, bilinearly enlarged.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: None to choose.
    """

    class Options(Strict):
        """Settings of the linear head: none."""

    def __init__(self, shape: HeadInput, classes: int, options: Strict) -> None:
        super().__init__(shape, classes, options)
        self._depths = (shape.depth - 1,)
        self.score = nn.Conv2d(shape.dims[-1], classes, kernel_size=1)

    @property
    def depths(self) -> tuple[int, ...]:
        """Index of the last block."""
        return self._depths

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) from one map (B, D, h, w)."""
        scores = self.score(maps[-1])
        return functional.interpolate(
            scores, size=image.shape[-2:], mode="bilinear", align_corners=False
        )

    def features(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return the last map, enlarged: scores of enlarged features are enlarged scores."""
        size = (image.shape[-2], image.shape[-1])
        return functional.interpolate(maps[-1], size=size, mode="bilinear", align_corners=False)

    def set_weights(self, weight: Tensor, bias: Tensor) -> None:
        """Start from weights (K, D) and intercepts (K,)."""
        with torch.no_grad():
            self.score.weight.copy_(weight[:, :, None, None])
            cast("Tensor", self.score.bias).copy_(bias)
