"""The linear head: one score per class and patch, enlarged to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.heads.base import HEADS, HeadInput, PixelHead

if TYPE_CHECKING:
    from collections.abc import Sequence


@HEADS.register("linear")
class LinearHead(PixelHead):
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
