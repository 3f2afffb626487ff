"""The multi-level head: a pyramid from a plain transformer, an FPN, and a skip from the image."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.heads.base import HEADS, HeadInput, PixelHead

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Strides in pixels that the levels aim at, as in ViTDet; the first is the finest.
_STRIDES_PX = (4, 8, 16, 32)

_GROUPS = 8


class FPNOptions(Strict):
    """Settings of the multi-level head."""

    width: int = Field(default=64, ge=8, multiple_of=8, description="channels of the pyramid")
    skip: bool = Field(
        default=True, description="add detail from the image itself at full resolution"
    )
    skip_width: int = Field(default=32, ge=8, description="channels at full resolution")


@HEADS.register("fpn")
class FPNHead(PixelHead):
    """Four depths of the backbone become four scales, are joined top-down, and meet the image.

    Each depth is narrowed to ``width``, brought near to strides of 4, 8, 16 and 32 pixels by
    transposed convolutions or pooling, and fused by a feature pyramid network. The sum of its
    levels is enlarged to the image and joined with a small convolutional view of the image.
    There is no batch statistic anywhere: a chip's result does not depend on its neighbours in
    the batch.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: ``FPNOptions``.

    Source: pyramid from a plain backbone: ViTDet (Li et al. 2022), section 3, with maps of four
    depths as in UPerNet on ViT (Bao et al. 2022); FPN: Lin et al. 2017.
    """

    Options = FPNOptions

    def __init__(self, shape: HeadInput, classes: int, options: Strict) -> None:
        super().__init__(shape, classes, options)
        chosen = cast("FPNOptions", options)
        # torchvision is slow to import; timm has paid for it wherever a network is built
        from torchvision.ops import FeaturePyramidNetwork

        width = chosen.width
        self._depths = shape.levels
        self.levels = nn.ModuleList(
            _level(shape.dims[i], width, round(math.log2(shape.strides_px[i] / stride)))
            for i, stride in zip(self._depths, _STRIDES_PX, strict=True)
        )
        self.pyramid = FeaturePyramidNetwork([width] * len(_STRIDES_PX), width)
        self.context = nn.Sequential(
            nn.GroupNorm(_GROUPS, width), nn.GELU(), nn.Conv2d(width, chosen.skip_width, 1)
        )
        self.detail = _detail(shape.channels, chosen.skip_width) if chosen.skip else None
        joined = chosen.skip_width * (2 if chosen.skip else 1)
        self.fuse = nn.Sequential(nn.Conv2d(joined, chosen.skip_width, 3, padding=1), nn.GELU())
        self.score = nn.Conv2d(chosen.skip_width, classes, kernel_size=1)

    @property
    def depths(self) -> tuple[int, ...]:
        """Indices of the four blocks that the backbone suggests."""
        return self._depths

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) from four maps (B, D, h, w) and the image (B, C, H, W)."""
        scaled = OrderedDict(
            (str(i), level(x)) for i, (level, x) in enumerate(zip(self.levels, maps, strict=True))
        )
        fused = list(self.pyramid(scaled).values())
        total = fused[0]
        for coarser in fused[1:]:
            total = total + _resize(coarser, fused[0].shape[-2:])
        joined = _resize(self.context(total), image.shape[-2:])
        if self.detail is not None:
            joined = torch.cat([joined, self.detail(image)], dim=1)
        return cast("Tensor", self.score(self.fuse(joined)))


def _level(dim: int, width: int, octaves: int) -> nn.Sequential:
    """Narrow a map to ``width`` and enlarge it ``octaves`` times by 2, or shrink it likewise."""
    layers: list[nn.Module] = [nn.Conv2d(dim, width, 1), nn.GroupNorm(_GROUPS, width)]
    for _ in range(octaves):
        layers += [nn.GELU(), nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)]
    # rounding up: a map of one pixel stays one pixel
    layers += [nn.MaxPool2d(kernel_size=2, ceil_mode=True) for _ in range(-octaves)]
    return nn.Sequential(*layers)


def _detail(channels: int, width: int) -> nn.Sequential:
    """View the image at full resolution; without norm, so that absolute values survive."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.GELU(),
    )


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
