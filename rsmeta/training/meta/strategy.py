"""What every strategy is: one meta step of the scales, with the weights left as they are."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from rsmeta.config.load import validate
from rsmeta.config.meta import GradientOptions
from rsmeta.errors import UnknownNameError
from rsmeta.registry import Registry
from rsmeta.training.meta.processes import averaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from rsmeta.config.base import Strict
    from rsmeta.config.meta import MetaSettings
    from rsmeta.training.meta.task import MetaTask

logger = logging.getLogger(__name__)

#: What learned scales are compared with; neither takes meta steps.
BASELINES = ("fixed", "joint")


class MetaStrategy(ABC):
    """Moves the scales, once in each meta step.

    Subclasses name their settings in ``Options`` and are registered in ``STRATEGIES``.

    Args:
        rhos: Every ``rho``, once.
        options: The strategy's own settings.
        seed: Seed of what the strategy itself draws.
    """

    Options: ClassVar[type[Strict]]

    def __init__(self, rhos: Sequence[nn.Parameter], options: Any, *, seed: int = 0) -> None:
        self.rhos = list(rhos)
        self.options = options
        self.seed = seed

    @property
    def steps_ahead(self) -> int:
        """Training batches that a meta step needs to look ahead, one for each step."""
        return 0

    @abstractmethod
    def update(self, task: MetaTask) -> None:
        """Change the values of ``rhos``, and nothing else."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: tensors and plain values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""


#: Strategies by name.
STRATEGIES: Registry[type[MetaStrategy]] = Registry("strategy")


def build_strategy(
    settings: MetaSettings, rhos: Sequence[nn.Parameter], *, seed: int = 0
) -> MetaStrategy:
    """Build the strategy that the settings name; raises as ``check_strategy`` does."""
    kind = STRATEGIES.get(settings.strategy)
    return kind(rhos, _options(settings), seed=seed)


def check_strategy(settings: MetaSettings) -> None:
    """Check the strategy's name and its options.

    Raises:
        UnknownNameError: No strategy of that name; the nearest is suggested.
        ConfigError: An option that it does not take, or a value that does not fit.
    """
    if settings.strategy in BASELINES:
        return
    if settings.strategy not in STRATEGIES:
        raise UnknownNameError("strategy", settings.strategy, [*BASELINES, *STRATEGIES.names()])
    _options(settings)


def _options(settings: MetaSettings) -> Strict:
    kind = STRATEGIES.get(settings.strategy)
    return validate(kind.Options, settings.options, f"meta ({settings.strategy})")


class GradientStrategy(MetaStrategy):
    """Estimates a gradient with respect to ``rho``, which Adam follows."""

    Options: ClassVar[type[Strict]] = GradientOptions

    def __init__(self, rhos: Sequence[nn.Parameter], options: Any, *, seed: int = 0) -> None:
        super().__init__(rhos, options, seed=seed)
        self.adam = torch.optim.Adam(self.rhos, lr=options.lr, betas=options.betas)

    @abstractmethod
    def gradients(self, task: MetaTask) -> list[Tensor]:
        """Return the gradient of this process's meta loss, one tensor per ``rho``."""

    def update(self, task: MetaTask) -> None:
        """Take one step of Adam along the gradient; none where it is not finite."""
        gradients = averaged(self.gradients(task))
        if not all(torch.isfinite(gradient).all() for gradient in gradients):
            logger.warning("a meta step moved no scale, because its gradient is not finite")
            return
        for rho, gradient in zip(self.rhos, gradients, strict=True):
            rho.grad = gradient.detach()
        self.adam.step()
        for rho in self.rhos:
            rho.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of Adam."""
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of Adam."""
        self.adam.load_state_dict(state)
