"""Pixels that never travel without their validity and their grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rsmeta.geo.bands import Band
    from rsmeta.geo.grid import Grid


@dataclass(frozen=True, eq=False)
class Chip:
    """A piece of a scene.

    Args:
        data: Physical values, (C, H, W) float32; 0 where a band has no data.
        valid: Which pixels hold data, (H, W) bool.
        grid: Place of the pixels.
        bands: The C bands, in the order of ``data``.

    Raises:
        ValueError: Shapes or types do not fit each other.
    """

    data: NDArray[np.float32]
    valid: NDArray[np.bool_]
    grid: Grid
    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        expected = (len(self.bands), *self.grid.shape)
        if self.data.shape != expected or self.data.dtype != np.float32:
            raise ValueError(
                f"data of a chip is {self.data.dtype} {self.data.shape}, not float32 {expected}"
            )
        if self.valid.shape != self.grid.shape or self.valid.dtype != np.bool_:
            raise ValueError(
                f"validity of a chip is {self.valid.dtype} {self.valid.shape}, "
                f"not bool {self.grid.shape}"
            )
