"""Mean and spread of each band over training ground, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from rsmeta.data.streams import random_stream
from rsmeta.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.data.splits import Region
    from rsmeta.geo.scene import Scene

#: Side of the windows that statistics are read in, in pixels.
_STEP_PX = 256

#: Windows read per scene at most; more add nothing to a mean.
_WINDOWS = 64


class Ground(Protocol):
    """A scene, and the ground of it that may be seen; no region: all of it."""

    @property
    def scene(self) -> Scene: ...  # noqa: D102

    @property
    def region(self) -> Region | None: ...  # noqa: D102


def band_statistics(scenes: Sequence[Ground], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Measure the bands over the valid pixels of the training ground.

    Large scenes are sampled: at most 64 windows of 256 x 256 pixels each, drawn with ``seed``.

    Args:
        scenes: The training part, regions included.
        seed: Seed of the draw.

    Returns:
        Mean and standard deviation per band, (C,) float64 each, in physical units. A constant
        band has standard deviation 1.

    Raises:
        TrainingError: The training ground holds no valid pixel.
    """
    rng = random_stream("statistics", seed)
    total = sum_1 = sum_2 = np.zeros(len(scenes[0].scene.bands))
    for part in scenes:
        grid = part.scene.grid
        places = list(grid.windows(_STEP_PX))
        for i in sorted(rng.permutation(len(places))[:_WINDOWS]):
            chip = part.scene.read(places[i])
            valid = chip.valid
            if part.region is not None:
                valid = valid & part.region.contains(chip.grid)
            pixels = chip.data[:, valid].astype(np.float64)
            total = total + pixels.shape[1]
            sum_1 = sum_1 + pixels.sum(axis=1)
            sum_2 = sum_2 + (pixels**2).sum(axis=1)
    if not total.all():
        raise TrainingError(
            "no valid pixel on the training ground; check data.nodata and the split"
        )
    return mean_and_std(total, sum_1, sum_2)


def mean_and_std(
    total: np.ndarray | int, sum_1: np.ndarray, sum_2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, 1 where there is none, from count and sums of powers."""
    mean = sum_1 / total
    std = np.sqrt(np.maximum(sum_2 / total - mean**2, 0.0))
    return mean, np.where(std > 1e-8 * np.maximum(np.abs(mean), 1e-6), std, 1.0)
