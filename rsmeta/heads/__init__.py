"""Heads: from the features of any backbone to one score per class, for pixels or for images."""

from __future__ import annotations

from rsmeta.heads import classifiers, forest, fpn, linear, logistic, mlp  # each registers its heads
from rsmeta.heads.base import (
    CLASSIFIERS,
    HEADS,
    Classifier,
    Head,
    HeadInput,
    LinearPixelHead,
    PixelHead,
    build_head,
)
from rsmeta.heads.output import OutputSpec
from rsmeta.heads.solved import SolvedHead

__all__ = [
    "CLASSIFIERS",
    "HEADS",
    "Classifier",
    "Head",
    "HeadInput",
    "LinearPixelHead",
    "OutputSpec",
    "PixelHead",
    "SolvedHead",
    "build_head",
    "classifiers",
    "forest",
    "fpn",
    "linear",
    "logistic",
    "mlp",
]
