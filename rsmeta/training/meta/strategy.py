"""What every strategy is: one meta step of the scales, with the weights left as they are."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from rsmeta.config.load import validate
from rsmeta.config.meta import GradientOptions
from rsmeta.errors import UnknownNameError
from rsmeta.registry import Registry
from rsmeta.training.meta.descent import ConstantAdam, Descent, GatedTravel, is_finite
from rsmeta.training.meta.processes import averaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from rsmeta.config.base import Strict
    from rsmeta.config.meta import MetaSettings
    from rsmeta.training.meta.descent import Estimate
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
    return STRATEGIES.get(settings.strategy)(rhos, _options(settings), seed=seed)


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
    options = STRATEGIES.get(settings.strategy).Options
    return validate(options, settings.options, f"meta ({settings.strategy})")


class GradientStrategy(MetaStrategy):
    """Estimates the gradient with respect to ``rho``, which a descent follows."""

    Options: ClassVar[type[Strict]] = GradientOptions

    def __init__(self, rhos: Sequence[nn.Parameter], options: Any, *, seed: int = 0) -> None:
        super().__init__(rhos, options, seed=seed)
        follow = GatedTravel if options.lr is None else ConstantAdam
        self.descent: Descent = follow(self.rhos, options)

    @abstractmethod
    def estimates(self, task: MetaTask) -> list[Estimate]:
        """Return independent estimates of this process's gradient, each of all ``rhos``."""

    def update(self, task: MetaTask) -> None:
        """Follow the gradient; where an estimate is not finite, nothing moves."""
        estimates = [averaged(estimate) for estimate in self.estimates(task)]
        if not estimates:  # every training step since the last meta step overflowed
            return
        if not all(map(is_finite, estimates)):
            logger.warning("a meta step moved no scale, because its gradient is not finite")
            return
        self.descent.step([[g.detach() for g in estimate] for estimate in estimates], task.share)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the descent."""
        return self.descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the descent."""
        self.descent.load_state_dict(state)
