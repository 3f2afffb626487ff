"""Test-time augmentation: several views of a tile are scored, and the scores averaged."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from rsmeta.inference.resize import resized

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.inference.scoring import Model

Views: TypeAlias = Literal["none", "flips", "all", "five_crop", "ten_crop", "random"]


@dataclass(frozen=True)
class View:
    """One view of a tile.

    Attributes:
        turns: Quarter turns.
        mirrored: Whether it is mirrored before.
        crop: Which part of the tile enlarged by a tenth it is: place of its upper edge and of its
            left one, as shares of what the enlarged tile is larger; none: the tile as it is.
    """

    turns: int = 0
    mirrored: bool = False
    crop: tuple[float, float] | None = None


_CORNERS_AND_CENTRE = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))

#: The views of each name but ``random``: eight random crops, mirrored or not. Crops are for
#: models of whole images: their scores have no place to be put back to.
#:
#: Source: for crops Krizhevsky et al. 2012, section 4.1.
VIEWS: dict[str, tuple[View, ...]] = {
    "none": (View(),),
    "flips": (View(0), View(0, True), View(2), View(2, True)),
    "all": tuple(View(turns, mirrored) for turns in range(4) for mirrored in (False, True)),
    "five_crop": tuple(View(crop=place) for place in _CORNERS_AND_CENTRE),
    "ten_crop": tuple(
        View(0, mirrored, place) for mirrored in (False, True) for place in _CORNERS_AND_CENTRE
    ),
}
#: Views of ``random``.
_RANDOM = 8

#: By how much a tile is enlarged before crops of its own size are taken: 24 px of 224, as in Shi
#: et al. 2024 (LIFT).
_ENLARGED = 1 + 24 / 224


def augmented(model: Model, views: Views, *, seed: int = 0) -> Model:
    """Return a model that averages the scores of several views.

    Args:
        model: Maps (B, C, H, W) and valid (B, H, W) to scores (B, K, H, W), which are turned back
            before they are averaged, or (B, K).
        views: Which views; ``none`` returns the model itself.
        seed: Seed of ``random``: the same crops for every batch of a size.
    """
    if views == "none":
        return model

    def mean_of_views(image: Tensor, valid: Tensor) -> Tensor:
        chosen = _random(seed) if views == "random" else VIEWS[views]
        larger = _enlarged(image, valid) if chosen[0].crop else (image, valid)
        size = tuple(image.shape[-2:])
        total: Tensor | None = None
        for view in chosen:
            seen = (_turned(_cropped(tensor, view, size), view) for tensor in larger)
            scores = _put_back(model(*seen).float(), view)
            total = scores if total is None else total + scores
        return torch.as_tensor(total) / len(chosen)

    return mean_of_views


def _random(seed: int) -> tuple[View, ...]:
    draw = torch.Generator().manual_seed(seed)
    places = torch.rand(_RANDOM, 3, generator=draw).tolist()
    return tuple(View(0, side < 0.5, (row, col)) for row, col, side in places)


def _enlarged(image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    height, width = (max(side + 2, round(side * _ENLARGED)) for side in image.shape[-2:])
    return resized(image, valid, (height, width))


def _cropped(tile: Tensor, view: View, size: tuple[int, ...]) -> Tensor:
    if view.crop is None:
        return tile
    (top, left), (height, width) = view.crop, size
    row, col = (
        ceil(share * room - 0.5)  # to the nearest; a half is rounded down
        for share, room in ((top, tile.shape[-2] - height), (left, tile.shape[-1] - width))
    )
    return tile[..., row : row + height, col : col + width]


def _turned(tile: Tensor, view: View) -> Tensor:
    return torch.rot90(tile.flip(-1) if view.mirrored else tile, view.turns, (-2, -1))


def _put_back(scores: Tensor, view: View) -> Tensor:
    """Return the scores of pixels where the pixels are; those of images have no place."""
    if scores.ndim < 4:
        return scores
    if view.crop is not None:
        raise ValueError("crops are for models of whole images")
    back = torch.rot90(scores, -view.turns, (-2, -1))
    return back.flip(-1) if view.mirrored else back
