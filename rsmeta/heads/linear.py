"""The linear head: one score per class and patch, enlarged to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.errors import ConfigError, counted
from rsmeta.heads.base import HEADS, HeadInput, LinearPixelHead

if TYPE_CHECKING:
    from collections.abc import Sequence


class LinearOptions(Strict):
    """Options of the linear head."""

    depths: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        min_length=1,
        description="blocks of the backbone, from 0, whose features count; none: the last",
    )


@HEADS.register("linear")
class LinearHead(LinearPixelHead):
    """A pointwise convolution of feature maps side by side, bilinearly enlarged.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: Whose features.

    Raises:
        ConfigError: A depth that the backbone does not have, or depths of several resolutions.
    """

    Options: ClassVar[type[Strict]] = LinearOptions

    def __init__(self, shape: HeadInput, classes: int, options: LinearOptions) -> None:
        super().__init__(shape, classes, options)
        self._depths = options.depths or (shape.depth - 1,)
        for depth in self._depths:
            if depth >= shape.depth:
                raise ConfigError(
                    f"model.head.depths: {depth} is beyond the backbone's "
                    f"{counted(shape.depth, 'block')}"
                )
        if len({shape.strides_px[depth] for depth in self._depths}) > 1:
            raise ConfigError(
                f"model.head.depths={list(self._depths)} have maps of several resolutions, which "
                f"the head linear cannot put side by side; use the head fpn"
            )
        self.score = nn.Conv2d(sum(shape.dims[d] for d in self._depths), classes, kernel_size=1)

    @property
    def depths(self) -> tuple[int, ...]:
        """Indices of the blocks whose features count."""
        return self._depths

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) from one map (B, D, h, w) per entry of ``depths``."""
        return _enlarge(self.score(torch.cat(tuple(maps), dim=1)), image)

    def features(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return the maps, enlarged: scores of enlarged features are enlarged scores."""
        return _enlarge(torch.cat(tuple(maps), dim=1), image)

    def set_weights(self, weight: Tensor, bias: Tensor) -> None:
        """Start from weights (K, D) and intercepts (K,)."""
        with torch.no_grad():
            self.score.weight.copy_(weight[:, :, None, None])
            cast("Tensor", self.score.bias).copy_(bias)


def _enlarge(maps: Tensor, image: Tensor) -> Tensor:
    size = (image.shape[-2], image.shape[-1])
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
