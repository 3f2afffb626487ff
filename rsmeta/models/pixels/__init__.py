"""A backbone without weights: the bands themselves, their surroundings, spectral indices."""

from __future__ import annotations

from rsmeta.models.pixels.backbone import PixelBackbone
from rsmeta.models.pixels.features import Surroundings

__all__ = ["PixelBackbone", "Surroundings"]
