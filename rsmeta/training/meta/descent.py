"""How scales follow their gradients: as far as a run may take them, or as published."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from rsmeta.config.meta import GradientOptions

#: One estimate of the gradient: a tensor for each ``rho``.
Estimate: TypeAlias = "list[Tensor]"


class Descent(ABC):
    """Moves every ``rho`` against its gradient."""

    @abstractmethod
    def step(self, estimates: Sequence[Estimate], share: float) -> None:
        """Take one step.

        Args:
            estimates: Independent estimates of the gradient; at least one.
            share: Part of the run's travel that this step may use.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""


class ConstantAdam(Descent):
    """Adam with a constant rate, as MetaPEFT's published code has it."""

    def __init__(self, rhos: Sequence[nn.Parameter], options: GradientOptions) -> None:
        self._rhos = list(rhos)
        assert options.lr is not None
        self._adam = torch.optim.Adam(self._rhos, lr=options.lr, betas=options.betas)

    def step(self, estimates: Sequence[Estimate], share: float) -> None:
        """Follow the mean of the estimates."""
        for rho, *gradients in zip(self._rhos, *estimates, strict=True):
            rho.grad = torch.stack(gradients).mean(dim=0)
        self._adam.step()
        for rho in self._rhos:
            rho.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of Adam."""
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of Adam."""
        self._adam.load_state_dict(state)


class GatedTravel(Descent):
    """Steps of a length that the run allows, where the gradient stands out of its noise.

    All steps of a run together take ``rho`` no further than ``log(travel)``. A step is that
    share of it times ``1 - (gate · error / mean)²``, or 0 where this is negative: ``mean`` is a
    running mean of the estimates, ``error`` its standard error, from a running variance.

    Source: sign descent (signSGD, Bernstein et al., ICML 2018) shrunk by the positive part of the
    James-Stein estimator.
    """

    def __init__(self, rhos: Sequence[nn.Parameter], options: GradientOptions) -> None:
        self._rhos = list(rhos)
        self._reach = math.log(options.travel)
        self._gate = options.gate
        self._betas = options.betas
        self._steps = 0
        self._mean = torch.zeros_like(_flat(self._rhos))
        self._variance = torch.zeros_like(self._mean)

    @torch.no_grad()
    def step(self, estimates: Sequence[Estimate], share: float) -> None:
        """Move each number where its gradient is clear, by no more than its share."""
        self._steps += 1
        samples = torch.stack([_flat(estimate) for estimate in estimates])
        beta = self._betas[0]
        first, second = (1 - beta**self._steps for beta in self._betas)
        self._mean.lerp_(samples.mean(dim=0), 1 - beta)
        mean = self._mean / first
        self._variance.lerp_((samples - mean).square().mean(dim=0), 1 - self._betas[1])
        # The running mean has the standard error of so many independent estimates.
        count = len(samples) * (1 + beta) / (1 - beta) * first / (2 - first)
        clear = self._clear(mean, self._variance / second, count)
        moves = -share * self._reach * mean.sign() * clear
        parts = torch.split(moves, [rho.numel() for rho in self._rhos])
        for rho, part in zip(self._rhos, parts, strict=True):
            rho.add_(part.view_as(rho))

    def _clear(self, mean: Tensor, variance: Tensor, count: float) -> Tensor:
        """Return how far means exceed their noise, from 0 to 1."""
        if self._gate == 0:
            return torch.ones_like(mean)
        if count < 3 + 1e-6:  # too few estimates to know their error
            return torch.zeros_like(mean)
        # The squared error of the mean, times the variance of Student's t for so few estimates.
        noise = self._gate**2 * variance / (count - 3)
        return torch.where(mean == 0, 0.0, 1 - noise / mean.square()).clamp(min=0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the running mean and variance."""
        return {"steps": self._steps, "mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running mean and variance."""
        self._steps = state["steps"]
        self._mean.copy_(state["mean"])
        self._variance.copy_(state["variance"])


def is_finite(estimate: Estimate) -> bool:
    """Return whether every number of an estimate is finite."""
    return bool(torch.isfinite(_flat(estimate)).all())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
