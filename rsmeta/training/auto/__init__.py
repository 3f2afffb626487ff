"""Choose a model by cross-validation over whole polygons, or blocks, of the training labels."""

from __future__ import annotations

from rsmeta.training.auto.candidates import candidates_of
from rsmeta.training.auto.duel import Duel, compare_network
from rsmeta.training.auto.estimate import estimate_selection
from rsmeta.training.auto.selection import Selection, select_model, select_zoom

__all__ = [
    "Duel",
    "Selection",
    "candidates_of",
    "compare_network",
    "estimate_selection",
    "select_model",
    "select_zoom",
]
