"""A small CLIP of open_clip, for several test files."""

from __future__ import annotations

from functools import cache

import torch
from open_clip.model import CLIP


@cache
def reference(*, quick_gelu: bool) -> CLIP:
    """A small CLIP of open_clip with random weights."""
    torch.manual_seed(5)
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 64}
    text = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 2}
    model = CLIP(32, vision, text, quick_gelu=quick_gelu)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    return model.eval()
