"""The number format that a network is trained and scored in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from rsmeta.config.trainer import TrainerSettings


def choose_precision(settings: TrainerSettings, *, to_train: bool = True) -> Any:
    """Return Lightning's precision: float32 on a CPU, where bfloat16 autocast is slow.

    Args:
        settings: What is asked for.
        to_train: For training; else weights are float32, as in prediction.
    """
    if settings.precision == "bf16-true" and not to_train:
        return "32-true"
    if settings.precision != "auto":
        return settings.precision
    on_gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu else "32-true"
