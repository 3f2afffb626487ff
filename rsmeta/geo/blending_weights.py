"""Blending weights: how much each of several overlapping tiles counts at a pixel."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How overlapping tiles are joined:
#:
#: - ``cosine``: weights rise as a raised cosine over the overlap, are highest inside, never 0.
#: - ``centre``: 1 where the tile's centre is the nearest of all (the upper or left one at equal
#:   distance), 0 elsewhere.
#: - ``none``: 1 where no tile above or to the left has been, 0 elsewhere.
Blend: TypeAlias = Literal["cosine", "centre", "none"]


@lru_cache(maxsize=256)
def axis_weights(
    offsets: tuple[int, ...], tile_px: int, overlap_px: int, blend: Blend
) -> NDArray[np.float32]:
    """Return the weights of a tile along one axis; those of all tiles at a pixel add up to 1.

    Args:
        offsets: Where the tiles that overlap this one start, itself included, counted from it.
        tile_px: Side of a tile.
        overlap_px: Pixels that neighbouring tiles share.
        blend: How tiles are joined.

    Returns:
        (tile_px,), unitless in [0, 1].
    """
    if blend == "cosine":
        total = np.zeros(3 * tile_px)
        single = _raised_cosine(tile_px, overlap_px)
        for offset in offsets:
            total[tile_px + offset : 2 * tile_px + offset] += single
        share: NDArray[np.float32] = (single / total[tile_px : 2 * tile_px]).astype(np.float32)
        return share
    before = max((offset for offset in offsets if offset < 0), default=None)
    after = min((offset for offset in offsets if offset > 0), default=None)
    pixels = np.arange(tile_px)
    owned = np.ones(tile_px, dtype=np.bool_)
    if blend == "none":
        if before is not None:
            owned = pixels >= before + tile_px
        return owned.astype(np.float32)
    # Twice the distance between pixel centre and tile centre keeps to whole numbers.
    if before is not None:
        owned &= 2 * pixels + 1 > before + tile_px
    if after is not None:
        owned &= 2 * pixels + 1 <= after + tile_px
    return owned.astype(np.float32)


def _raised_cosine(tile_px: int, overlap_px: int) -> NDArray[np.float64]:
    ramp_px = min(overlap_px, tile_px // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp_px) + 0.5) / max(ramp_px, 1))
    return np.concatenate([ramp, np.ones(tile_px - 2 * ramp_px), ramp[::-1]])
