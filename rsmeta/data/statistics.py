"""Mean and standard deviation of each band over the training pixels, and no others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rsmeta.data.streams import random_stream
from rsmeta.errors import TrainingError, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio.windows import Window

    from rsmeta.geo.chip import Chip
    from rsmeta.geo.scene import Scene

logger = logging.getLogger(__name__)

#: Side of the windows that statistics are read in, in pixels.
_STEP_PX = 256

#: Windows read per scene at most; more add nothing to a mean.
_WINDOWS = 64


class ReadableScene(Protocol):
    """A scene of which windows are read; what one part may not see is invalid."""

    @property
    def scene(self) -> Scene: ...  # noqa: D102

    def read_region(self, window: Window) -> Chip: ...  # noqa: D102


class Moments:
    """Mean and standard deviation of bands, from pixels that come in pieces.

    Pieces are merged by their own means and spreads (Chan, Golub and LeVeque 1983), so that nothing
    is lost where a band varies little beside its size.

    Args:
        bands: Number of bands, C.

    Attributes:
        weight: Sum of the weights so far.
        mean: Per band, (C,) float64.
        varies: Whether a band holds more than one value, (C,) bool.
    """

    def __init__(self, bands: int) -> None:
        self.weight = 0
        self.mean = np.zeros(bands)
        self._squares = np.zeros(bands)
        self._low, self._high = np.full(bands, np.inf), np.full(bands, -np.inf)

    def add(self, pixels: np.ndarray, *, weight: int) -> None:
        """Take in pixels, (C, N), that count together as much as their weight."""
        if not weight:
            return
        self.weight += weight
        apart = pixels.mean(axis=1, dtype=np.float64) - self.mean
        share = weight / self.weight
        self._squares += weight * (pixels.var(axis=1, dtype=np.float64) + apart**2 * (1 - share))
        self.mean = self.mean + apart * share
        self._low = np.minimum(self._low, pixels.min(axis=1))
        self._high = np.maximum(self._high, pixels.max(axis=1))

    @property
    def varies(self) -> np.ndarray:  # noqa: D102
        return self._high > self._low

    @property
    def std(self) -> np.ndarray:
        """Standard deviation per band, (C,) float64; 1 where a band is constant."""
        return np.where(self.varies, np.sqrt(self._squares / max(self.weight, 1)), 1.0)


def band_statistics(scenes: Sequence[ReadableScene], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Measure the bands over the valid pixels of the training part.

    Large scenes are sampled: at most 64 windows of 256 x 256 pixels each, drawn with ``seed``.

    Args:
        scenes: The training part, regions included.
        seed: Seed of the random windows.

    Returns:
        Mean and standard deviation per band, (C,) float64 each, in physical units. A constant
        band has standard deviation 1.

    Raises:
        TrainingError: The training part holds no valid pixel, or all its pixels are equal.
    """
    rng = random_stream("statistics", seed)
    bands = scenes[0].scene.bands
    moments = Moments(len(bands))
    for part in scenes:
        grid = part.scene.grid
        places = list(grid.windows(_STEP_PX))
        for i in sorted(rng.permutation(len(places))[:_WINDOWS]):
            chip = part.read_region(places[i])
            pixels = chip.data[:, chip.valid]
            moments.add(pixels, weight=pixels.shape[1])
    if not moments.weight:
        raise TrainingError(
            "the training part has no valid pixel; check data.nodata and data.split"
        )
    flat = [str(band) for band, varies in zip(bands, moments.varies, strict=True) if not varies]
    if len(flat) == len(bands):
        raise TrainingError(
            "every band holds a single value on the training pixels, so nothing can be told from "
            "them; check the scenes, data.scale and data.nodata"
        )
    if flat:
        logger.warning("%s: a single value on all training pixels, which says nothing; see "
                       "data.use_bands", enumerate_names(flat))  # fmt: skip
    return moments.mean, moments.std
