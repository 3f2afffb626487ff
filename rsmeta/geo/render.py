"""Pictures of pixels: a stretched RGB of a chip, and the colours of a class map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.geo.bands import COMMON_NAMES, band_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.sensors import Band


#: Exponent that lightens dark pixels: reflectances crowd near 0, and clouds set the upper end.
_GAMMA = 0.6
#: A band so near to the centre of a colour shows it.
_SAME_COLOUR_NM = 30.0


def rgb_bands(bands: Sequence[Band]) -> tuple[int, int, int]:
    """Return which bands to show as red, green and blue.

    True colour where red, green and blue are known by name, common name or wavelength, else the
    first three bands (or the first for all three).
    """
    names = [(band.name.lower(), (band.common_name or "").lower()) for band in bands]
    found = [
        next((i for i, both in enumerate(names) if colour in both), None)
        for colour in ("red", "green", "blue")
    ]
    found = [
        band_at(COMMON_NAMES[colour], bands, _SAME_COLOUR_NM) if i is None else i
        for i, colour in zip(found, ("red", "green", "blue"), strict=True)
    ]
    if all(i is not None for i in found):
        red, green, blue = (int(i) for i in found if i is not None)
        return red, green, blue
    return (0, 1, 2) if len(bands) > 2 else (0, 0, 0)


def stretch_rgb(
    data: np.ndarray, valid: np.ndarray, bands: Sequence[Band], *, percent: float = 2.0
) -> np.ndarray:
    """Return an RGB picture, each band stretched between its lower and upper percentile.

    Args:
        data: (C, H, W) in physical units.
        valid: (H, W) bool; other pixels become white.
        bands: What the channels are.
        percent: Share cut off at each end.

    Returns:
        (H, W, 3) uint8.
    """
    picture = np.full((*valid.shape, 3), 255, dtype=np.uint8)
    for channel, band in enumerate(rgb_bands(bands)):
        values = data[band][valid]
        if values.size:
            low, high = np.percentile(values, [percent, 100 - percent])
            scaled = (values - low) / max(high - low, 1e-12)
            lightened = np.clip(scaled, 0, 1) ** _GAMMA
            picture[valid, channel] = (lightened * 255).astype(np.uint8)
    return picture


def colour_classes(labels: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Return class indices (H, W), -1 for none, as an (H, W, 3) uint8 picture on white."""
    table = np.array([*colours, (255, 255, 255)], dtype=np.uint8)
    picture: np.ndarray = table[np.where((labels < 0) | (labels >= len(colours)), -1, labels)]
    return picture
