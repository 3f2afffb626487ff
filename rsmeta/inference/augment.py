"""Test-time augmentation: a tile is seen from several sides, and the scores are averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.inference.scoring import Model

Augment: TypeAlias = Literal["none", "flips", "all"]

#: Quarter turns, and whether a tile is mirrored first.
_VIEWS: dict[Augment, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "all": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}


def augmented(model: Model, views: Augment) -> Model:
    """Return a model that averages the scores of several views of each square tile.

    Args:
        model: Maps (B, C, h, w) and valid (B, h, w) to scores (B, K, h, w).
        views: ``none``; ``flips``: mirrored along either axis and both; ``all``: turned by
            quarters besides, 8 views.
    """
    chosen = _VIEWS[views]
    if len(chosen) == 1:
        return model

    def mean_of_views(image: Tensor, valid: Tensor) -> Tensor:
        total: Tensor | None = None
        for turns, mirrored in chosen:
            seen = model(_view(image, turns, mirrored), _view(valid, turns, mirrored))
            scores = _back(seen, turns, mirrored)
            total = scores if total is None else total + scores
        return torch.as_tensor(total) / len(chosen)

    return mean_of_views


def _view(tile: Tensor, turns: int, mirrored: bool) -> Tensor:
    return torch.rot90(tile.flip(-1) if mirrored else tile, turns, (-2, -1))


def _back(tile: Tensor, turns: int, mirrored: bool) -> Tensor:
    turned = torch.rot90(tile, -turns, (-2, -1))
    return turned.flip(-1) if mirrored else turned
