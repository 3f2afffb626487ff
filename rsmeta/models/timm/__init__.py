"""timm's transformers as backbones."""

from __future__ import annotations

from rsmeta.models.timm.swin import TimmSwin
from rsmeta.models.timm.vit import TimmViT

__all__ = ["TimmSwin", "TimmViT"]
