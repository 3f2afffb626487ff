"""When meta steps are due in a run, and how much each may move the scales."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rsmeta.config.meta import MetaSettings


def travel_shares(settings: MetaSettings, total_steps: int) -> dict[int, float]:
    """Return each meta step's share of the way that a run can take a scale.

    Shares fall along half a cosine to 0 at ``meta.until``, after which scales are frozen. They
    add up to 1, however long the run.

    Args:
        settings: When meta steps are due.
        total_steps: Optimizer steps of the whole run.

    Returns:
        Shares by the number of optimizer steps after which the meta step is taken.
    """
    end, begin = settings.until * total_steps, settings.warmup_steps
    due = np.arange(begin + settings.every_n_steps, math.floor(end) + 1, settings.every_n_steps)
    weights = 0.5 * (1 + np.cos(np.pi * (due - begin) / (end + 1 - begin)))
    return dict(zip(due.tolist(), (weights / weights.sum()).tolist(), strict=True))
