"""Mean and spread of each band over training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.statistics import Moments
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
    moments = Moments(len(images.bands))
    for index in chosen.tolist():
        data, valid = images.read(index)
        if valid.any():
            moments.add(data[:, valid], weight=1)
    if not moments.weight:
        raise TrainingError("no valid pixel in the training images; check data.nodata")
    return moments.mean, moments.std
