"""First order: how the loss would change with the scales if the weights stayed as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rsmeta.config.meta import FirstOrderOptions
from rsmeta.training.meta.strategy import STRATEGIES, GradientStrategy

if TYPE_CHECKING:
    from rsmeta.config.base import Strict
    from rsmeta.training.meta.descent import Estimate
    from rsmeta.training.meta.task import MetaTask


@STRATEGIES.register("first_order")
class FirstOrder(GradientStrategy):
    """The gradient at the present weights: no step ahead, no weight gradients formed.

    For LoRA it is ``dL/dlog(scale) = ⟨G, scale · A · B⟩`` with the gradient G of the adapted
    weight; as B sums past updates, it shows whether going further in their direction helps.
    Every training step's backward pass yields the same gradient for a batch that the weights
    have not been stepped on yet, at almost no cost.

    Source: MetaPEFT (CVPR 2025), whose published code takes this gradient.
    """

    Options: ClassVar[type[Strict]] = FirstOrderOptions

    def estimates(self, task: MetaTask) -> list[Estimate]:
        """Return ``dL(phi, rho) / drho`` of the training batches and of those of this step."""
        return [*task.training_estimates, *task.meta_gradients(task.rhos)]
