"""Best class, confidence and entropy from the probabilities of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Pixels that are processed at once where each has many bands.
_THIN_PX = 2**17


def largest(scores: np.ndarray) -> np.ndarray:
    """Return the index of the largest of (K, h, w) scores, (h, w); the first of equals.

    The same as ``argmax``, which is several times slower along the first axis.
    """
    best = np.zeros(scores.shape[1:], dtype=np.uint8 if len(scores) <= 256 else np.uint16)
    for rows in _thin(best):  # small enough for the processor's cache
        found, top = best[rows], scores[0, rows].copy()
        for index, score in enumerate(scores[1:, rows], 1):
            # Indices grow, so the later one is the larger: masks would be slower.
            np.maximum(found, (score > top) * found.dtype.type(index), out=found)
            np.fmax(top, score, out=top)
    return best


def _thin(image: np.ndarray) -> Iterator[slice]:
    """Yield some rows of an image at a time."""
    step = max(_THIN_PX // image.shape[1], 1)
    for row in range(0, len(image), step):
        yield slice(row, row + step)


def _entropy(scores: np.ndarray) -> np.ndarray:
    """Return the entropy of (K, h, w) probabilities as a share of the largest, (1, h, w)."""
    total = np.zeros(scores.shape[1:], dtype=np.float32)
    for share in scores:  # a class at a time: memory is set by the block
        total -= share * np.log(share, out=np.zeros_like(share), where=share > 0)
    share_of_largest: np.ndarray = np.clip(total / np.float32(np.log(len(scores))), 0, 1)
    return share_of_largest[None]


#: Contents of rasters of shares, (bands, h, w), from probabilities (K, h, w).
SHARES_OF: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "probabilities": lambda scores: scores,
    "confidence": lambda scores: scores.max(axis=0)[None],
    "entropy": _entropy,
}
