"""Majority filter: each pixel gets the most frequent class around it."""

from __future__ import annotations

import numpy as np


def majority(indices: np.ndarray, side_px: int) -> np.ndarray:
    """Give each pixel the most frequent class of the square around it.

    Where classes are equally frequent a pixel keeps its own, or gets the first of them.

    Args:
        indices: Class indices, (h, w) int16, -1 where there is no class.
        side_px: Side of the square around a pixel, odd.

    Returns:
        (h, w) int16. Within ``side_px // 2`` of an edge the square is cut off. Pixels without class
        stay so.
    """
    best = np.zeros(indices.shape, dtype=np.int32)
    result = indices.copy()
    own = np.zeros(indices.shape, dtype=np.int32)
    classes = [int(k) for k in np.unique(indices) if k >= 0]
    for k in classes:
        counts = _box_sums(indices == k, side_px)
        is_own = indices == k
        own[is_own] = counts[is_own]
        more = counts > best
        result[more] = k
        np.maximum(best, counts, out=best)
    keeps = (own == best) | (indices < 0)
    result[keeps] = indices[keeps]
    return result


def _box_sums(mask: np.ndarray, side_px: int) -> np.ndarray:
    """Count true pixels in the square around each pixel, (h, w) int32."""
    half = side_px // 2
    sums = np.pad(mask.astype(np.int32), ((half + 1, half), (half + 1, half)))
    np.cumsum(sums, axis=0, out=sums)
    np.cumsum(sums, axis=1, out=sums)
    n = side_px
    counts: np.ndarray = sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]
    return counts
