"""Unrolled: the exact gradient through the next steps of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.attention import SDPBackend, sdpa_kernel

from rsmeta.training.meta.inner_steps import InnerSteps
from rsmeta.training.meta.processes import averaged
from rsmeta.training.meta.strategy import STRATEGIES, GradientStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.config.meta import MetaSettings
    from rsmeta.training.meta.task import OuterTask


@STRATEGIES.register("unrolled")
class Unrolled(GradientStrategy):
    """Takes ``inner_steps`` steps on copies of the weights, and differentiates through them.

    The steps are those that the optimizer would take from where it is: with its momentum,
    learning rate, weight decay and clipping. Dropout is off in them. Costs the memory of all
    steps, and some four times the time of as many.

    Source: "Gradient-based Hyperparameter Optimization through Reversible Learning", Maclaurin
    et al., ICML 2015 (differentiating through training).
    """

    @classmethod
    def inner_batches(cls, settings: MetaSettings) -> int:
        """Return one batch per step ahead."""
        return settings.inner_steps

    def gradients(self, task: OuterTask) -> list[Tensor]:
        """Return ``dL(phi_n(rho), rho) / drho``."""
        assert task.optimizer is not None
        steps = InnerSteps(task.optimizer, task.network, task.clip_norm)
        weights, moments = steps.weights, steps.moments
        with sdpa_kernel(SDPBackend.MATH):  # the one attention that can be differentiated twice
            for batch in task.inner:
                loss = task.loss_of(batch, weights)
                found = task.gradient(loss, list(weights.values()), create_graph=True)
                weights, moments = steps.step(weights, averaged(found), moments)
            return task.outer_gradient(task.scales, weights)
