"""Losses over labelled pixels."""

from __future__ import annotations

from rsmeta.losses.base import LOSSES, build_loss
from rsmeta.losses.cross_entropy import IGNORE_INDEX, CrossEntropy, balanced_weights

__all__ = ["IGNORE_INDEX", "LOSSES", "CrossEntropy", "balanced_weights", "build_loss"]
