"""Short trainings before a run, one from each of a few scales: the run starts from the best.

The gradient of a scale shows whether more or less of it would serve the present weights, not that
they would be better ones had it been a tenth from the start. A few steps at the full rate do. Where
they leave it open, the run starts from the scale nearest to 1.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from rsmeta.peft import reset_scales
from rsmeta.training.meta.isolation import isolated, seeded
from rsmeta.training.meta.processes import averaged
from rsmeta.training.meta.task import loss_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lightning import Trainer
    from torch import Tensor, nn

    from rsmeta.config.meta import GradientOptions, MetaSettings
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.meta.task import Batch
    from rsmeta.training.module import TaskModule

logger = logging.getLogger(__name__)

#: Steps below which the loss of a trial says nothing; such trials are left out.
_FEWEST = 5

#: Relative lead below which two scales are as good as each other, however sure it is.
_LEAST = 0.01

#: Trials draw what a meta step of this number would, which no run reaches.
_STREAM = 2**31 - 1


class Trial:
    """A scale, and the weights that a few steps with it have led to.

    Args:
        module: Starts from its network's present weights and scales.
        optimizer: Steps the weights; of this trial alone.
    """

    def __init__(self, module: TaskModule, optimizer: torch.optim.Optimizer) -> None:
        self.losses: list[float] = []
        self._optimizer = optimizer
        self._weights = [p for group in optimizer.param_groups for p in group["params"]]
        self._parameters = [*self._weights, *module.network.scale_parameters()]
        self._leave()

    def step(self, loss_of: Callable[[], Tensor], factor: float, clip: float | None) -> None:
        """Note the loss of a batch, then step the weights on it.

        Args:
            loss_of: Returns the loss at the network's present weights.
            factor: What half-precision training multiplies losses by.
            clip: Largest norm of the gradient; none: it is not clipped.
        """
        self.enter()
        loss = loss_of()
        found = torch.autograd.grad(
            loss * factor, self._weights, allow_unused=True, materialize_grads=True
        )
        mean, *gradients = averaged([loss.detach(), *(g / factor for g in found)])
        self.losses.append(float(mean))
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self._weights, clip)
        self._optimizer.step()
        self._leave()

    @torch.no_grad()
    def judge(self, loss_of: Callable[[], Tensor]) -> None:
        """Note the loss of a batch that the weights are not stepped on."""
        self.enter()
        self.losses.append(float(averaged([loss_of()])[0]))

    @torch.no_grad()
    def enter(self) -> None:
        """Give the network the weights and scales of this trial."""
        for parameter, value in zip(self._parameters, self._values, strict=True):
            parameter.copy_(value)

    def _leave(self) -> None:
        self._values = [parameter.detach().clone() for parameter in self._parameters]


def steps_of_a_trial(options: GradientOptions, total_steps: int, trials: int) -> int:
    """Return the steps of each trial, so that all are a share of the run; 0: too few.

    Args:
        options: The share.
        total_steps: Optimizer steps of the run.
        trials: How many there are.
    """
    steps = math.floor(options.trial_share * total_steps / trials) if trials else 0
    return steps if steps >= _FEWEST else 0


def scales_to_try(options: GradientOptions, meta: MetaSettings) -> list[float]:
    """Return the scales that the form of the scales allows; none: there is nothing to compare."""
    top = meta.maximum if meta.parametrisation == "sigmoid" else math.inf
    scales = [scale for scale in dict.fromkeys(options.trial_scales) if scale < top]
    return scales if len(scales) > 1 else []


def best_scale(losses: Mapping[float, Sequence[float]], gate: float) -> float | None:
    """Return the scale of the lowest mean loss, or that nearest to 1 if the lead is small.

    Args:
        losses: Of each scale, on the same batches, at least two.
        gate: Standard errors that the mean of the batches' relative differences must exceed.

    Returns:
        One of the scales; none where each had a loss that is not finite.
    """
    finite = {scale: np.array(found) for scale, found in losses.items() if np.isfinite(found).all()}
    if not finite:
        return None
    near = min(finite, key=lambda scale: abs(math.log(scale)))
    best = min(finite, key=lambda scale: finite[scale].mean())
    kept, rival = finite[near], finite[best]
    # Relative: where one scale diverges, its last losses alone would make the error as large.
    size = (np.abs(kept) + np.abs(rival)) / 2
    lead = (kept - rival) / np.maximum(size, np.finfo(float).tiny)
    error = lead.std(ddof=1) / math.sqrt(len(lead))
    return best if lead.mean() > max(gate * error, _LEAST) else near


def try_scales(
    module: TaskModule,
    trainer: Trainer,
    data: TrainingData,
    options: GradientOptions,
    objective: nn.Module | None,
) -> None:
    """Set the scales to the best of those that were tried; nothing else is changed.

    All trials see the same batches. The losses of the second half of these, each before the
    weights are stepped on it, decide; where the scales are asked another question than the
    weights, those of the batches of meta steps do, after the last step.

    Args:
        module: What is about to be trained.
        trainer: Is about to train it.
        data: Draws the batches.
        options: What to try, and for how long.
        objective: What the scales minimise; none: the training loss.

    Source: the losing rates of short runs are dropped in Hyperband (Li et al., JMLR 2018), too;
    this is one round of it.
    """
    meta, backbone = module.settings.meta, module.network.backbone
    scales = scales_to_try(options, meta)
    steps = steps_of_a_trial(options, int(trainer.estimated_stepping_batches), len(scales))
    if not steps:
        return
    judged = 0 if objective is None and meta.source == "train" else max(steps // 2, meta.batches, 2)
    with isolated(module, module.network.trainable_parameters()), _kept(module.network):
        trials = []
        for scale in scales:
            reset_scales(backbone, scale)
            trials.append(Trial(module, _optimizer(module)))
        seeded(module, "trials")
        with trainer.precision_plugin.forward_context():
            losses = _losses(module, trainer, data, objective, (steps, judged))
            for number, loss_of in enumerate(losses):
                for trial in trials:
                    if number < steps:
                        trial.step(loss_of, loss_scale(trainer), trainer.gradient_clip_val)
                    else:
                        trial.judge(loss_of)
    last = judged or (steps + 1) // 2
    found = {scale: t.losses[-last:] for scale, t in zip(scales, trials, strict=True)}
    best = best_scale(found, options.gate)
    if best is None:
        return  # the run itself will say what is wrong
    reset_scales(backbone, best)
    said = ", ".join(f"{scale:g}: {np.mean(losses):.4g}" for scale, losses in found.items())
    logger.info("tried scales for %d steps each (loss of %s); starting from %g", steps, said, best)


@contextlib.contextmanager
def _kept(network: Network) -> Iterator[None]:
    """Give a network its present weights and scales back."""
    parameters = [*network.trainable_parameters(), *network.scale_parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


def _losses(
    module: TaskModule,
    trainer: Trainer,
    data: TrainingData,
    objective: nn.Module | None,
    counts: tuple[int, int],
) -> Iterator[Callable[[], Tensor]]:
    """Yield the loss of one batch after another, at the weights when it is called.

    Args:
        module: Network, loss and augmentation.
        trainer: Moves batches to the device.
        data: Draws them.
        objective: The loss of those that judge; none: the training loss.
        counts: Batches to step on, as large as those of training, and batches that judge.
    """
    (steps, judged), meta = counts, module.settings.meta
    parts = module.settings.trainer.accumulate_grad_batches
    loader = iter(data.meta_dataloader(
        meta.model_copy(update={"batches": judged}), steps_ahead=steps * parts, first_step=_STREAM
    ))  # fmt: skip
    for number in range(steps + judged):
        to_step = number < steps
        drawn = [
            module.changed(
                trainer.strategy.batch_to_device(next(loader)),
                augment=to_step or meta.source == "train",
            )
            for _ in range(parts if to_step else 1)
        ]
        loss = module.loss if to_step else objective or module.loss
        yield functools.partial(_mean_loss, module, loss, drawn)


def _mean_loss(module: TaskModule, loss: nn.Module, batches: Sequence[Batch]) -> Tensor:
    losses = [loss(module.network(b["image"], b["valid"]), b["target"]) for b in batches]
    return torch.stack(losses).mean()


def _optimizer(module: TaskModule) -> torch.optim.Optimizer:
    """Return an optimizer like that of the run, at the full rate: there is no time to warm up."""
    optimizer: torch.optim.Optimizer = module.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    return optimizer
