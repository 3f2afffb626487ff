"""A backbone without weights: the bands themselves, their surroundings, spectral indices."""

from __future__ import annotations

from rsmeta.models.pixels.backbone import (
    PREFIX,
    PixelBackbone,
    build_pixels,
    pixel_names,
    pixels_line,
)
from rsmeta.models.pixels.features import Surroundings

__all__ = ["PREFIX", "PixelBackbone", "Surroundings", "build_pixels", "pixel_names", "pixels_line"]
