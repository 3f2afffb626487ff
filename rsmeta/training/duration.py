"""How long a training will take, judged by a few steps that change nothing."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch

from rsmeta.training.precision import choose_precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data import DataLoader

    from rsmeta.config.trainer import TrainerSettings
    from rsmeta.data.datamodule import Batch
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.step import Step

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


def estimate_duration(step: Step, data: TrainingData) -> Duration:
    """Try a few training steps, without changing a weight, and count how many there will be.

    Validation is taken to score each labelled chip or image once.

    Args:
        step: A step of what would be trained; its gradients are cleared afterwards.
        data: What it would be trained on.
    """
    settings = step.settings.trainer
    if step.network.solvable:
        return Duration(0, None)
    loader = data.train_dataloader()
    epoch_steps = len(loader) // settings.accumulate_grad_batches or min(len(loader), 1)
    steps = settings.max_epochs * epoch_steps
    if settings.max_steps >= 0:
        steps = min(steps, settings.max_steps)
    tried = list(islice(_tried_seconds(step, loader), _TRIED))
    if not tried or not steps:
        return Duration(steps, None)
    training, scoring = (sum(times) / len(times) for times in zip(*tried[-2:], strict=True))
    epochs = steps / epoch_steps / settings.check_val_every_n_epoch
    batches = len(data.ordered_dataloader("validation")) if data.validates else 0
    seconds = steps * settings.accumulate_grad_batches * training + epochs * batches * scoring
    limit = settings.max_minutes
    return Duration(steps, seconds if limit is None else min(seconds, 60 * limit))


def _tried_seconds(step: Step, loader: DataLoader[Batch]) -> Iterator[tuple[float, float]]:
    """Yield, batch by batch, the seconds of a training step and those of scoring alone."""
    device = _device(step.settings.trainer)
    step.network.to(device).train()
    step.loss.to(device)
    reduced = choose_precision(step.settings.trainer) == "bf16-mixed"
    started = time.monotonic()
    for batch in loader:
        given = {name: batch[name].to(device) for name in ("image", "valid", step.task.target)}
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            loss = step.loss_of(step.changed(given))
        loss_at = _now(device)
        loss.backward()  # type: ignore[no-untyped-call]
        step.network.zero_grad()
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


def duration_text(seconds: float) -> str:
    """Return a duration as one would say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


class TimeLeft:
    """Says how long the rest of several runs takes, from those that were done.

    Args:
        total: Number of runs.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()

    def after_one(self) -> str:
        """Return what is left now that one more is done; empty after the last."""
        self._done += 1
        each = (time.monotonic() - self._started) / self._done
        left = self._total - self._done
        return f", about {duration_text(each * left)} left" if left > 0 else ""
