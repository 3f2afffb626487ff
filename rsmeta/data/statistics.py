"""Mean and standard deviation of each band over the training pixels, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from rsmeta.data.streams import random_stream
from rsmeta.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rasterio.windows import Window

    from rsmeta.geo.chip import Chip
    from rsmeta.geo.scene import Scene

#: Side of the windows that statistics are read in, in pixels.
_STEP_PX = 256

#: Windows read per scene at most; more add nothing to a mean.
_WINDOWS = 64


class ReadableScene(Protocol):
    """A scene of which windows are read; what one part may not see is invalid."""

    @property
    def scene(self) -> Scene: ...  # noqa: D102

    def read_region(self, window: Window) -> Chip: ...  # noqa: D102


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
        TrainingError: The training part holds no valid pixel.
    """
    rng = random_stream("statistics", seed)
    total = sum_1 = sum_2 = np.zeros(len(scenes[0].scene.bands))
    for part in scenes:
        grid = part.scene.grid
        places = list(grid.windows(_STEP_PX))
        for i in sorted(rng.permutation(len(places))[:_WINDOWS]):
            chip = part.read_region(places[i])
            pixels = chip.data[:, chip.valid].astype(np.float64)
            total = total + pixels.shape[1]
            sum_1 = sum_1 + pixels.sum(axis=1)
            sum_2 = sum_2 + (pixels**2).sum(axis=1)
    if not total.all():
        raise TrainingError(
            "the training part has no valid pixel; check data.nodata and data.split"
        )
    return mean_and_std(total, sum_1, sum_2)


def mean_and_std(
    total: np.ndarray | int, sum_1: np.ndarray, sum_2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, 1 where there is none, from count and sums of powers."""
    mean = sum_1 / total
    std = np.sqrt(np.maximum(sum_2 / total - mean**2, 0.0))
    return mean, np.where(std > 1e-8 * np.maximum(np.abs(mean), 1e-6), std, 1.0)
