"""What the course of the scales says about a run's settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.training.meta.schedule import travel_shares

if TYPE_CHECKING:
    from rsmeta.config.meta import MetaSettings
    from rsmeta.training.meta.history import ScaleHistory

#: Relative change below which scales count as not learned.
_STILL = 0.02

#: Mean rise, as a factor, above which it matters whether scales still rise at the end.
_RISE = 1.5

#: Pace of the second half of the way, relative to the whole, above which scales still rise.
_PACE = 0.7


def judge_scales(history: ScaleHistory, settings: MetaSettings, optimizer: str) -> list[str]:
    """Return warnings about a finished run, a sentence each.

    Args:
        history: The course of the scales.
        settings: How they were learned.
        optimizer: Name of the optimizer of the weights.
    """
    scales = np.array(history.scales)
    if len(scales) < 2 or not scales.shape[1]:
        return []
    moved = np.max(np.abs(scales[-1] - scales[0]) / np.maximum(np.abs(scales[0]), 1e-6))
    if moved < _STILL:
        return [_still(moved, settings, optimizer)]
    if scales.min() <= 0:
        return []
    scales, steps = scales[history.first :], history.steps[history.first :]
    course = np.log(scales).mean(axis=1)
    factor = math.exp(course[-1] - course[0])
    if factor > _RISE and _pace(course, steps, settings) > _PACE:
        return [
            f"the scales still rose when they were frozen (to {factor:.1f} times their start, on "
            f"average): your learning rate or scale is too low; raise trainer.optimizer.lr, or "
            f"start from tuner.scale={2 * factor * scales[0].mean():.2g}"
        ]
    return []


def _still(moved: float, settings: MetaSettings, optimizer: str) -> str:
    start = f"the scales hardly moved (by at most {moved:.1%})"
    if settings.strategy == "joint":
        rate = settings.options["lr"]
        return (
            f"{start}: with trainer.optimizer.name={optimizer} and meta.lr={rate:g}, "
            f"meta.strategy=joint does what fixed does; raise meta.lr, or use meta=first_order"
        )
    return (
        f"{start}, as if they were fixed: their gradient did not stand out of its noise, or the "
        f"steps are too small; lower meta.gate, raise meta.batches, or use meta=fixed"
    )


def _pace(course: np.ndarray, steps: list[int], settings: MetaSettings) -> float:
    """Return how fast scales moved in the second half of their way, relative to the whole.

    Ways are measured by what the schedule allows: by the shares of travel, or evenly.
    """
    shares = travel_shares(settings, steps[-1])
    even = settings.options.get("lr") is not None
    due = np.array(list(shares))
    upto = np.cumsum([0.0, *([1.0] * len(due) if even else shares.values())])
    allowed = upto[np.searchsorted(due, steps, side="right")]
    if not allowed[-1]:
        return 0.0
    allowed = allowed / allowed[-1]
    half = int(np.searchsorted(allowed, 0.5))
    if allowed[half] >= 1:
        return 0.0
    second = (course[-1] - course[half]) / (1 - allowed[half])
    return float(second / (course[-1] - course[0]))
