"""Classes recognised by their names: a head that was never trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.models.clip.towers import Clip


class ZeroShotHead(nn.Module):
    """Compares the image tower's vector with the texts of the classes.

    Args:
        clip: Text tower, projection and scale that belong to the image tower.
        classes: Names of the classes, K.
        prompts: A set of prompts, or prompts with ``{}`` for the name.

    Source: Radford et al. 2021 (arXiv:2103.00020), section 3.1.
    """

    texts: Tensor

    def __init__(self, clip: Clip, classes: Sequence[str], prompts: str | Sequence[str]) -> None:
        super().__init__()
        with torch.inference_mode():
            texts = clip.text.class_features(classes, prompts)
        self.register_buffer("texts", texts.clone())
        self.projection = clip.projection
        self._clip = clip

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of the image tower's vectors (B, D)."""
        return self._clip.scores(features, self.texts)
