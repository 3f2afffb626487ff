"""Meta learning of MetaPEFT: while the weights are trained, the adapters' scales are, too.

Importing the package registers every strategy. Source: MetaPEFT (CVPR 2025).
"""

from __future__ import annotations

from rsmeta.training.meta import evolution, finite_difference, first_order, unrolled
from rsmeta.training.meta.callback import MetaStep
from rsmeta.training.meta.history import ScaleHistory
from rsmeta.training.meta.judgement import judge_scales
from rsmeta.training.meta.strategy import STRATEGIES, MetaStrategy, build_strategy, check_strategy
from rsmeta.training.meta.task import MetaTask
from rsmeta.training.meta.top_sites import TopSites

__all__ = [
    "STRATEGIES",
    "MetaStep",
    "MetaStrategy",
    "MetaTask",
    "ScaleHistory",
    "TopSites",
    "build_strategy",
    "check_strategy",
    "evolution",
    "finite_difference",
    "first_order",
    "judge_scales",
    "unrolled",
]
