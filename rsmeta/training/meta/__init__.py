"""The outer loop of MetaPEFT: while weights are trained, the scales of the adapters are, too.

Importing the package registers every strategy. Source: MetaPEFT (CVPR 2025).
"""

from __future__ import annotations

from rsmeta.training.meta import evolution, finite_difference, first_order, unrolled
from rsmeta.training.meta.callback import MetaStep
from rsmeta.training.meta.history import ScaleHistory
from rsmeta.training.meta.strategy import STRATEGIES, MetaStrategy, check_strategy
from rsmeta.training.meta.task import OuterTask

__all__ = [
    "STRATEGIES",
    "MetaStep",
    "MetaStrategy",
    "OuterTask",
    "ScaleHistory",
    "check_strategy",
    "evolution",
    "finite_difference",
    "first_order",
    "unrolled",
]
