"""Unrolled: the exact gradient through the next steps of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch.nn.attention import SDPBackend, sdpa_kernel

from rsmeta.config.meta import UnrolledOptions
from rsmeta.training.meta.inner_steps import InnerSteps
from rsmeta.training.meta.processes import averaged
from rsmeta.training.meta.strategy import STRATEGIES, GradientStrategy

if TYPE_CHECKING:
    from rsmeta.config.base import Strict
    from rsmeta.training.meta.descent import Estimate
    from rsmeta.training.meta.task import MetaTask


@STRATEGIES.register("unrolled")
class Unrolled(GradientStrategy):
    """Takes ``inner_steps`` steps on copies of the weights, and differentiates through them.

    The steps are those that the optimizer would take from where it is: with its momentum,
    learning rate, weight decay and clipping, but without dropout. All steps are held in memory
    at once, and each takes about four times as long as a training step.

    Source: "Gradient-based Hyperparameter Optimization through Reversible Learning", Maclaurin
    et al., ICML 2015 (differentiating through training).
    """

    Options: ClassVar[type[Strict]] = UnrolledOptions

    @property
    def steps_ahead(self) -> int:
        """As many as the options say."""
        steps: int = self.options.inner_steps
        return steps

    def estimates(self, task: MetaTask) -> list[Estimate]:
        """Return ``dL(phi_n(rho), rho) / drho`` of each batch."""
        assert task.optimizer is not None
        steps = InnerSteps(task.optimizer, task.network, task.clip_norm)
        weights, moments = steps.weights, steps.moments
        with sdpa_kernel(SDPBackend.MATH):  # the one attention that can be differentiated twice
            for batch in task.ahead:
                loss = task.loss_of(batch, weights)
                found = task.gradient(loss, list(weights.values()), create_graph=True)
                weights, moments = steps.step(weights, averaged(found), moments)
            return list(task.meta_gradients(task.rhos, weights))
