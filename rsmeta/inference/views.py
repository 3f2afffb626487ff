"""Test-time ensembles of whole images: several views are scored, and the scores averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rsmeta.inference.scoring import Model

ImageViews: TypeAlias = Literal["none", "flips", "all", "five_crop", "ten_crop", "random"]

#: By how much an image is enlarged before parts of its own size are cut out of it: 24 px of 224.
_ENLARGED = 1 + 24 / 224

#: Views of ``random``.
_RANDOM = 8

#: Quarter turns, and whether an image is mirrored first.
_TURNED: dict[str, tuple[tuple[int, bool], ...]] = {
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "all": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}


def averaged(model: Model, views: ImageViews, *, seed: int = 0) -> Model:
    """Return a model that averages the scores of several views of each image.

    Args:
        model: Maps (B, C, H, W) and valid (B, H, W) to scores (B, K).
        views: ``none``; ``flips``: mirrored along either axis and both; ``all``: turned by
            quarters besides; ``five_crop``: the corners and the centre of the image enlarged by a
            tenth; ``ten_crop``: those and their mirror images; ``random``: eight random parts,
            mirrored or not.
        seed: Seed of ``random``, the same parts for every batch of a size.

    Source: for crops Krizhevsky et al. 2012, section 4.1; enlarged as in Shi et al. 2024 (LIFT).
    """
    if views == "none":
        return model

    def mean_of_views(image: Tensor, valid: Tensor) -> Tensor:
        scores = [model(*view).float() for view in _views(image, valid, views, seed)]
        return torch.stack(scores).mean(dim=0)

    return mean_of_views


def _views(
    image: Tensor, valid: Tensor, views: ImageViews, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    if views in _TURNED:
        for turns, mirrored in _TURNED[views]:
            yield _turned(image, turns, mirrored), _turned(valid, turns, mirrored)
        return
    height, width = image.shape[-2:]
    image, valid = _enlarged(image, valid)
    down, right = image.shape[-2] - height, image.shape[-1] - width
    for row, col, mirrored in _places(views, down, right, seed):
        cut = (..., slice(row, row + height), slice(col, col + width))
        yield _turned(image[cut], 0, mirrored), _turned(valid[cut], 0, mirrored)


def _places(views: ImageViews, down: int, right: int, seed: int) -> Iterator[tuple[int, int, bool]]:
    """Yield row, column and mirroring of each part; rows reach to ``down``, columns ``right``."""
    if views == "random":
        draw = torch.Generator().manual_seed(seed)
        for row, col, side in torch.rand(_RANDOM, 3, generator=draw).tolist():
            yield round(row * down), round(col * right), side < 0.5
        return
    for mirrored in (False, True)[: 2 if views == "ten_crop" else 1]:
        for row, col in ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)):
            yield row, col, mirrored


def of_size(model: Model, side_px: int) -> Model:
    """Return a model that takes images of any size, and brings them to the side it was made for."""

    def sized(image: Tensor, valid: Tensor) -> Tensor:
        return model(*_scaled(image, valid, (side_px, side_px)))

    return sized


def _enlarged(image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    height, width = (max(side + 2, round(side * _ENLARGED)) for side in image.shape[-2:])
    return _scaled(image, valid, (height, width))


def _scaled(image: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize images as training did, over their valid pixels only."""
    if tuple(image.shape[-2:]) == size:
        return image, valid
    known = torch.where(valid[:, None], image, 0.0)
    weight = _interpolated(valid[:, None].to(image.dtype), size)
    values = _interpolated(known, size) / weight.clamp_min(1e-6)
    now_valid = weight >= 0.5
    return torch.where(now_valid, values, 0.0), now_valid[:, 0]


def _interpolated(image: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(
        image, size=size, mode="bilinear", align_corners=False, antialias=True
    )


def _turned(image: Tensor, turns: int, mirrored: bool) -> Tensor:
    return torch.rot90(image.flip(-1) if mirrored else image, turns, (-2, -1))
