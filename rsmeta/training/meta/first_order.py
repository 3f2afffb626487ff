"""First order: how the loss would change with the scales if the weights stayed as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.training.meta.strategy import STRATEGIES, GradientStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.training.meta.task import MetaTask


@STRATEGIES.register("first_order")
class FirstOrder(GradientStrategy):
    """The gradient at the present weights: no step ahead, no weight gradients formed.

    Source: MetaPEFT (CVPR 2025), whose published code takes this gradient.
    """

    def gradients(self, task: MetaTask) -> list[Tensor]:
        """Return ``dL(phi, rho) / drho``."""
        return task.meta_gradient(task.rhos)
