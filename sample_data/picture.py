"""What a sensor delivers of a place: pixels, labels, and how both are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """One place as a product of one sensor shows it.

    Attributes:
        pixels: Raw numbers (bands, H, W).
        labels: Class value of each pixel, (H, W), 0 where nobody knows.
        bands: Name of each band.
        pixel_m: Side of a pixel.
        inset_m: How far the upper left corner lies east and south of the place's.
        nodata: Raw number without data.
        scale: Physical value = raw * scale + offset.
        offset: See ``scale``.
        title: What the file is, for its description.
    """

    pixels: NDArray[Any]
    labels: NDArray[np.uint8]
    bands: tuple[str, ...]
    pixel_m: int
    inset_m: tuple[float, float]
    nodata: float
    scale: float
    offset: float
    title: str
