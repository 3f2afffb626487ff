"""How long a training will take, judged by a few steps that change nothing."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch

from rsmeta.training.fit import choose_precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data import DataLoader

    from rsmeta.config.trainer import TrainerSettings
    from rsmeta.data.datamodule import Batch
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.module import TaskModule

#: Batches that are tried; the first is slower than the rest, and is not counted.
_TRIED = 3


class Duration(NamedTuple):
    """What a training takes at most: it may stop early.

    Attributes:
        steps: Optimizer steps; 0 where the head is solved for.
        seconds: On this machine; none where nothing could be tried.
    """

    steps: int
    seconds: float | None


def estimate_duration(module: TaskModule, data: TrainingData) -> Duration:
    """Try a few training steps, without changing a weight, and count how many there will be.

    Validation is taken to score each labelled chip or image once.

    Args:
        module: What would be trained; its gradients are cleared afterwards.
        data: What it would be trained on.
    """
    settings = module.settings.trainer
    if module.network.solvable:
        return Duration(0, None)
    loader = data.train_dataloader()
    epoch_steps = len(loader) // settings.accumulate_grad_batches or min(len(loader), 1)
    steps = settings.max_epochs * epoch_steps
    if settings.max_steps >= 0:
        steps = min(steps, settings.max_steps)
    tried = list(islice(_tried_seconds(module, loader), _TRIED))
    if not tried or not steps:
        return Duration(steps, None)
    training, scoring = (sum(times) / len(times) for times in zip(*tried[-2:], strict=True))
    epochs = steps / epoch_steps / settings.check_val_every_n_epoch
    batches = len(data.ordered_dataloader("validation")) if data.validates else 0
    seconds = steps * settings.accumulate_grad_batches * training + epochs * batches * scoring
    limit = settings.max_minutes
    return Duration(steps, seconds if limit is None else min(seconds, 60 * limit))


def _tried_seconds(module: TaskModule, loader: DataLoader[Batch]) -> Iterator[tuple[float, float]]:
    """Yield, batch by batch, the seconds of a training step and those of scoring alone."""
    device = _device(module.settings.trainer)
    module.to(device).train()
    reduced = choose_precision(module.settings.trainer) == "bf16-mixed"
    started = time.monotonic()
    for batch in loader:
        given = {name: batch[name].to(device) for name in ("image", "valid", module.task.target)}
        drawn = module.changed(given)
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            loss = module.loss(module.score(drawn["image"], drawn["valid"]), drawn["target"])
        loss_at = _now(device)
        loss.backward()
        module.zero_grad()
        ended = _now(device)
        yield ended - started, loss_at - started
        started = _now(device)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _device(settings: TrainerSettings) -> torch.device:
    on_gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")
