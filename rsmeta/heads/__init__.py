"""Heads: from features to one score per class, for pixels or for images; they know no backbone."""

from __future__ import annotations

from rsmeta.heads import fpn, linear  # each registers its head
from rsmeta.heads.base import HEADS, Head, HeadInput, build_head
from rsmeta.heads.classifiers import CLASSIFIERS, Classifier, build_classifier
from rsmeta.heads.output import OutputSpec

__all__ = [
    "CLASSIFIERS",
    "HEADS",
    "Classifier",
    "Head",
    "HeadInput",
    "OutputSpec",
    "build_classifier",
    "build_head",
    "fpn",
    "linear",
]
