"""A backbone without weights: the bands themselves, their surroundings, spectral indices."""

from __future__ import annotations

from rsmeta.models.pixels.backbone import PREFIX, build_pixels, pixel_names, pixels_line

__all__ = ["PREFIX", "build_pixels", "pixel_names", "pixels_line"]
