"""Meta learning of MetaPEFT: while the weights are trained, the adapters' scales are, too.

Importing the package registers every strategy; the callbacks of Lightning, which takes seconds to
import, are imported when used. Source: MetaPEFT (CVPR 2025).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rsmeta.training.meta import evolution, finite_difference, first_order, unrolled
from rsmeta.training.meta.judgement import judge_scales
from rsmeta.training.meta.strategy import STRATEGIES, MetaStrategy, build_strategy, check_strategy
from rsmeta.training.meta.task import MetaTask

if TYPE_CHECKING:
    from rsmeta.training.meta.callback import MetaStep
    from rsmeta.training.meta.history import ScaleHistory
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

_CALLBACKS = {"MetaStep": "callback", "ScaleHistory": "history", "TopSites": "top_sites"}


def __getattr__(name: str) -> Any:
    if name in _CALLBACKS:
        return getattr(import_module(f"rsmeta.training.meta.{_CALLBACKS[name]}"), name)
    raise AttributeError(f"module 'rsmeta.training.meta' has no attribute {name!r}")
