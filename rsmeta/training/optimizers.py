"""Optimizer and learning-rate schedule from the settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.errors import TrainingError
from rsmeta.peft import Adapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning import Trainer
    from torch import nn

    from rsmeta.config.trainer import OptimizerSettings, TrainerSettings
    from rsmeta.models.network import Network


def build_optimizer(
    groups: Sequence[dict[str, Any]], settings: OptimizerSettings, total_steps: int
) -> dict[str, Any]:
    """Return Lightning's optimizer dictionary.

    Args:
        groups: What is stepped, as torch's optimizers take it.
        settings: Names, rates, schedule.
        total_steps: Optimizer steps of the whole run, for warm-up and cosine.

    Raises:
        TrainingError: There is nothing to step.
    """
    if not groups:
        raise TrainingError("nothing to train: head, stem and tuner are all frozen")
    optimizer: torch.optim.Optimizer
    if settings.name == "sgd":
        optimizer = torch.optim.SGD(list(groups), lr=settings.lr, momentum=settings.momentum)
    else:
        optimizer = torch.optim.AdamW(
            list(groups), lr=settings.lr, betas=(settings.momentum, 0.999)
        )
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


def total_steps(trainer: Trainer, settings: TrainerSettings) -> int:
    """Return the optimizer steps of the whole training."""
    by_epochs = int(trainer.estimated_stepping_batches)
    return by_epochs if settings.max_steps < 0 else min(by_epochs, settings.max_steps)


def plain_groups(module: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Return two groups of whatever learns: matrices and filters, which decay, and the rest."""
    free = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in free if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def parameter_groups(network: Network, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Return what an optimizer steps: one group per learning rate, with and without decay.

    Weight decay acts on matrices and filters only; biases, norms, scales, tokens and prompts are
    left free. The rate is ``lr`` times that of the site, the head or the stem.

    Args:
        network: Its trainable parameters are grouped; the adapters' scales never are.
        settings: Rates and decay.
    """
    factors = _factors(network, settings)
    grouped: dict[tuple[float, bool], list[nn.Parameter]] = {}
    left = {id(parameter) for parameter in network.trainable_parameters()}
    for path, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in left:
                continue
            left.remove(id(parameter))
            factor = factors.get(f"{path}.{name}".removeprefix("."), 1.0)
            grouped.setdefault((factor, _decays(module, name, parameter)), []).append(parameter)
    return [
        {"params": parameters, "lr": settings.lr * factor,
         "weight_decay": settings.weight_decay if decays else 0.0}
        for (factor, decays), parameters in grouped.items()
    ]  # fmt: skip


def learning_table(network: Network, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Return what learns, one row per place: site, method, rank, parameters, rate.

    Args:
        network: Any network; it is not changed.
        settings: Rates.
    """
    stem = sum(p.numel() for p in network.backbone.stem_parameters() if p.requires_grad)
    head = sum(p.numel() for p in network.head.parameters() if p.requires_grad)
    rows = [
        _row(place.site, place.method, place.parameters, settings.lr * place.lr_scale, place.rank)
        for place in network.tuned.places
    ]
    for row in rows:
        if row["method"] == "full":  # the stem has a row of its own
            row["parameters"] -= stem
    if stem:
        rows.insert(0, _row("stem", "full", stem, settings.lr * settings.stem_lr_scale))
    return [*rows, _row("head", "full", head, settings.lr * settings.head_lr_scale)]


def _row(
    site: str, method: str, parameters: int, rate: float, rank: int | None = None
) -> dict[str, Any]:
    return {"site": site, "method": method, "rank": rank, "parameters": parameters, "rate": rate}


def _factors(network: Network, settings: OptimizerSettings) -> dict[str, float]:
    """Return by what the learning rate of a parameter is multiplied, by its name; 1 if absent."""
    factors = {f"backbone.{name}": scale for name, scale in network.tuned.rates.items()}
    stem = {id(p) for p in network.backbone.stem_parameters()}
    for name, parameter in network.named_parameters():
        if name.startswith("head."):
            factors[name] = settings.head_lr_scale
        elif id(parameter) in stem:
            factors[name] = settings.stem_lr_scale
    return factors


def _decays(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    matrix = name.endswith("weight") or (isinstance(module, Adapter) and module.decays)
    return matrix and parameter.ndim > 1
