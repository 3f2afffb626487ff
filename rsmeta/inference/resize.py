"""Resize images as training does: over their valid pixels only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.inference.scoring import Model


def resized(image: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return images (B, C, H, W) and their validity (B, H, W) at another height and width."""
    if tuple(image.shape[-2:]) == size:
        return image, valid
    known = torch.where(valid[:, None], image, 0.0)
    weight = _interpolated(valid[:, None].to(image.dtype), size)
    values = _interpolated(known, size) / weight.clamp_min(1e-6)
    now_valid = weight >= 0.5
    return torch.where(now_valid, values, 0.0), now_valid[:, 0]


def of_size(model: Model, side_px: int) -> Model:
    """Return a model that takes images of any size, resized to the side it was made for."""

    def sized(image: Tensor, valid: Tensor) -> Tensor:
        return model(*resized(image, valid, (side_px, side_px)))

    return sized


def _interpolated(image: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(
        image, size=size, mode="bilinear", align_corners=False, antialias=True
    )
