"""CLIP: text features, and image features in the same space, for zero-shot scores.

The text tower needs the extra ``clip`` (open_clip); the image tower is a timm backbone.
"""

from __future__ import annotations

from rsmeta.models.clip.names import ClipName, clip_name
from rsmeta.models.clip.prompts import TEMPLATES, fill
from rsmeta.models.clip.towers import Clip, ImageProjection, TextTower, load_clip, load_text_tower
from rsmeta.models.clip.zero_shot import ZeroShotHead

__all__ = [
    "TEMPLATES",
    "Clip",
    "ClipName",
    "ImageProjection",
    "TextTower",
    "ZeroShotHead",
    "clip_name",
    "fill",
    "load_clip",
    "load_text_tower",
]
