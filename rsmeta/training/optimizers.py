"""Optimizer and learning-rate schedule from the settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.trainer import OptimizerSettings
    from rsmeta.models.network import Network
    from rsmeta.models.satmae.mae import GroupAutoencoder


def build_optimizer(
    network: Network | GroupAutoencoder,
    settings: OptimizerSettings,
    total_steps: int,
    *,
    extra: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return Lightning's optimizer dictionary.

    Weight decay acts on matrices and filters only; biases, norms and scales are left free.

    Args:
        network: Its trainable parameters are stepped.
        settings: Names, rates, schedule.
        total_steps: Optimizer steps of the whole run, for warm-up and cosine.
        extra: More groups, as torch's optimizers take them.

    Raises:
        TrainingError: Nothing in the network is trainable.
    """
    free = network.trainable_parameters()
    if not free:
        raise TrainingError("nothing to train: head, stem and tuner are all frozen")
    groups: list[dict[str, Any]] = [
        {"params": [p for p in free if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in (*groups, *extra) if group["params"]]
    optimizer: torch.optim.Optimizer
    if settings.name == "sgd":
        optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    else:
        optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999))
    warmup = math.ceil(settings.warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if settings.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(total_steps - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
