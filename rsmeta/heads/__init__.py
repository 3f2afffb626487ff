"""Heads: from feature maps to one score per class and pixel; they know no backbone."""

from __future__ import annotations

from rsmeta.heads import fpn, linear  # each registers its head
from rsmeta.heads.base import HEADS, Head, HeadInput, build_head
from rsmeta.heads.output import OutputSpec

__all__ = ["HEADS", "Head", "HeadInput", "OutputSpec", "build_head", "fpn", "linear"]
