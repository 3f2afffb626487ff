"""Filter the speckle of radar, so that a pixel's value depends on its surroundings alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rsmeta.config.radar import SpeckleSettings

_TINY = np.finfo(np.float64).tiny


def filter_speckle(
    values: NDArray[np.float32], known: NDArray[np.bool_], how: SpeckleSettings
) -> None:
    """Filter a band in place.

    Args:
        values: Backscatter, (h, w), in ``how.unit``; anything without data.
        known: Where there are data, (h, w); others take no part.
        how: The filter.

    Source: "Digital Image Enhancement and Noise Filtering by Use of Local Statistics", Lee, IEEE
    TPAMI 1980, doi:10.1109/TPAMI.1980.4766994, multiplicative noise of variance 1 / looks.
    """
    is_decibels = how.unit == "decibels"
    power = np.where(known, values, 0).astype(np.float64)
    if is_decibels:
        power = np.where(known, 10 ** (power / 10), 0)
    share = _box_mean(known.astype(np.float64), how.side_px)
    share = np.where(share > 0.5 / how.side_px**2, share, 1)  # a square without any data
    mean = _box_mean(power, how.side_px) / share
    if how.filter == "lee":
        noise = 1 / how.looks
        variance = np.maximum(_box_mean(power**2, how.side_px) / share - mean**2, 0)
        signal = np.maximum((variance - noise * mean**2) / (1 + noise), 0)
        mean = mean + signal / np.maximum(variance, _TINY) * (power - mean)
    filtered = 10 * np.log10(np.maximum(mean, _TINY)) if is_decibels else mean
    np.copyto(values, filtered, where=known, casting="same_kind")


def _box_mean(values: NDArray[np.float64], side_px: int) -> NDArray[np.float64]:
    """Return the mean over squares, with zeros beyond the edges."""
    from scipy.ndimage import uniform_filter

    mean: NDArray[np.float64] = uniform_filter(values, side_px, mode="constant")
    return mean
