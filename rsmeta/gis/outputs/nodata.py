"""Nodata when writing: what each pixel of a raster holds, valid or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from rsmeta.gis.outputs.shares import largest

if TYPE_CHECKING:
    from rsmeta.heads.output import OutputSpec

#: Shares of 0 to 1 in uint8: 250 is 1. Steps of this size are exact in decimals.
SHARE_STEP = 0.004
SHARE_NODATA = 255


def without_nan(scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the pixels that are valid and whose scores are all finite, (h, w) bool.

    Args:
        scores: Probabilities, (K, h, w), or numbers, (1, h, w).
        valid: (h, w) bool.
    """
    known: np.ndarray = valid & np.isfinite(scores.sum(axis=0))  # a sum with NaN is NaN
    return known


def map_values(
    output: OutputSpec,
    scores: np.ndarray | None,
    valid: np.ndarray,
    best: np.ndarray | None = None,
) -> np.ndarray:
    """Return the values of a map, (1, h, w).

    Args:
        output: What they mean.
        scores: Probabilities, (K, h, w), or numbers, (1, h, w); none if ``best`` is known.
        valid: (h, w) bool, elsewhere is nodata.
        best: Index of the largest probability, (h, w), if it is known.
    """
    nodata = np.array(output.nodata, output.dtype)
    if best is not None:
        return np.where(valid, np.array(output.values, output.dtype)[best], nodata)[None]
    if scores is None:
        raise ValueError("a map needs scores, or the classes chosen by them")
    if output.continuous:
        return np.where(valid, scores, nodata).astype(output.dtype)
    return map_values(output, None, valid, largest(scores))


def share_values(
    shares: np.ndarray, valid: np.ndarray, dtype: Literal["float32", "uint8"]
) -> np.ndarray:
    """Return the values of a raster of shares, (bands, h, w).

    Args:
        shares: (bands, h, w), 0 to 1.
        valid: (h, w) bool, elsewhere is nodata.
        dtype: Type of the raster.
    """
    if dtype == "uint8":
        steps = np.rint(np.clip(shares, 0, 1) / SHARE_STEP)
        return np.where(valid, steps, SHARE_NODATA).astype(np.uint8)
    return np.where(valid, shares, np.float32(np.nan))
