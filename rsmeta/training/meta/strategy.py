"""What every strategy is: one outer step of the scales, with the weights left as they are."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.errors import UnknownNameError
from rsmeta.registry import Registry
from rsmeta.training.meta.processes import averaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from rsmeta.config.meta import MetaSettings
    from rsmeta.training.meta.task import OuterTask

logger = logging.getLogger(__name__)

#: What one compares with; neither takes outer steps.
BASELINES = ("fixed", "joint")


class MetaStrategy(ABC):
    """Moves the scales, once for each outer step.

    Args:
        scales: Every ``rho``, once.
        settings: The ``meta`` section.
        seed: Of what the strategy itself draws.
    """

    def __init__(
        self, scales: Sequence[nn.Parameter], settings: MetaSettings, *, seed: int = 0
    ) -> None:
        self.scales = list(scales)
        self.settings = settings
        self.seed = seed

    @classmethod
    def inner_batches(cls, settings: MetaSettings) -> int:
        """Return how many training batches an outer step needs beside its own."""
        return 0

    @abstractmethod
    def update(self, task: OuterTask) -> None:
        """Change the values of ``scales``, and nothing else."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: tensors and plain values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""


#: Strategies by name.
STRATEGIES: Registry[type[MetaStrategy]] = Registry("strategy")


def check_strategy(name: str) -> None:
    """Refuse a name that is no strategy.

    Raises:
        UnknownNameError: It is none; the nearest is suggested.
    """
    if name not in BASELINES and name not in STRATEGIES:
        raise UnknownNameError("strategy", name, [*BASELINES, *STRATEGIES.names()])


class GradientStrategy(MetaStrategy):
    """Estimates a gradient with respect to ``rho``, which Adam follows."""

    def __init__(
        self, scales: Sequence[nn.Parameter], settings: MetaSettings, *, seed: int = 0
    ) -> None:
        super().__init__(scales, settings, seed=seed)
        self.adam = torch.optim.Adam(self.scales, lr=settings.lr, betas=settings.betas)

    @abstractmethod
    def gradients(self, task: OuterTask) -> list[Tensor]:
        """Return the gradient of this process's outer loss, one tensor per ``rho``."""

    def update(self, task: OuterTask) -> None:
        """Take one step of Adam along the gradient; none where it is not finite."""
        gradients = averaged(self.gradients(task))
        if not all(torch.isfinite(gradient).all() for gradient in gradients):
            logger.warning("an outer step moved no scale, because its gradient is not finite")
            return
        for rho, gradient in zip(self.scales, gradients, strict=True):
            rho.grad = gradient.detach()
        self.adam.step()
        for rho in self.scales:
            rho.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of Adam."""
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the state of Adam."""
        self.adam.load_state_dict(state)
