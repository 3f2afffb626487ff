"""Mean and spread of each band over training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.statistics import mean_and_std
from rsmeta.data.streams import random_stream
from rsmeta.errors import TrainingError

if TYPE_CHECKING:
    from rsmeta.data.images.image_set import ImageSet

#: Images read at most; more add nothing to a mean.
_IMAGES = 512


def image_statistics(images: ImageSet, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Measure the bands over the valid pixels of training images, at most 512 drawn by ``seed``.

    Returns:
        Mean and standard deviation per band, (C,) float64 each, in physical units. Every image
        counts alike, whatever its size. A constant band has standard deviation 1.

    Raises:
        TrainingError: No image holds a valid pixel.
    """
    rng = random_stream("statistics", seed)
    chosen = np.sort(rng.permutation(len(images))[:_IMAGES])
    total, sum_1, sum_2 = 0, np.zeros(len(images.bands)), np.zeros(len(images.bands))
    for index in chosen.tolist():
        data, valid = images.read(index)
        if valid.any():
            pixels = data[:, valid].astype(np.float64)
            total += 1
            sum_1 += pixels.mean(axis=1)
            sum_2 += (pixels**2).mean(axis=1)
    if not total:
        raise TrainingError("no valid pixel in the training images; check data.nodata")
    return mean_and_std(total, sum_1, sum_2)
