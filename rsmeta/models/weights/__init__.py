"""Where weights come from: sources, caches, and the records of those that are known."""

from __future__ import annotations

from rsmeta.models.weights.known import (
    KnownWeights,
    known_weights,
    pick_weights,
    recognise_weights,
    weights_of,
)
from rsmeta.models.weights.named import named_weights
from rsmeta.models.weights.sources import LocalWeights, is_local, locate_weights

__all__ = [
    "KnownWeights",
    "LocalWeights",
    "is_local",
    "known_weights",
    "locate_weights",
    "named_weights",
    "pick_weights",
    "recognise_weights",
    "weights_of",
]
