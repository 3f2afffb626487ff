"""Finite difference: the gradient through one step of the weights, by two extra passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rsmeta.training.meta.inner_steps import InnerSteps
from rsmeta.training.meta.processes import averaged
from rsmeta.training.meta.strategy import STRATEGIES, GradientStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.training.meta.descent import Estimate
    from rsmeta.training.meta.task import MetaTask

#: Length of the displacement of the weights that the difference is taken over.
_LENGTH = 0.01


@STRATEGIES.register("finite_difference")
class FiniteDifference(GradientStrategy):
    """What ``unrolled`` computes for one step, without differentiating twice.

    With g the training gradient and phi'(g) the weights one step ahead,

        dL(phi', rho)/drho + (dg/drho)^T u,   u = (dphi'/dg)^T dL(phi', rho)/dphi',

    and the second term is the change of the training loss's gradient by rho along u, taken
    from two points.

    Source: "DARTS: Differentiable Architecture Search", Liu et al., ICLR 2019, section 2.3,
    here for every optimizer that ``unrolled`` supports, not for plain SGD alone.
    """

    @property
    def steps_ahead(self) -> int:
        """One."""
        return 1

    def estimates(self, task: MetaTask) -> list[Estimate]:
        """Return ``dL(phi_1(rho), rho) / drho`` of all batches together, approximately."""
        assert task.optimizer is not None
        steps = InnerSteps(task.optimizer, task.network, task.clip_norm)
        weights = steps.weights
        loss = task.loss_of(task.ahead[0], weights)
        found = averaged(task.gradient(loss, list(weights.values())))
        gradient = [g.detach().requires_grad_() for g in found]
        moved, _ = steps.step(weights, gradient, steps.moments)
        ahead = {name: weight.detach().requires_grad_() for name, weight in moved.items()}
        every = task.meta_gradients([*task.rhos, *ahead.values()], ahead)
        both = [torch.stack(gradients).mean(dim=0) for gradients in zip(*every, strict=True)]
        direct, pull = both[: len(task.rhos)], averaged(both[len(task.rhos) :])
        along = torch.autograd.grad(list(moved.values()), gradient, pull)
        second = self._change(task, weights, along)
        return [[a + b for a, b in zip(direct, second, strict=True)]]

    def _change(
        self, task: MetaTask, weights: dict[str, Tensor], along: tuple[Tensor, ...]
    ) -> list[Tensor]:
        """Return how the training loss's gradient by rho changes per unit of ``along``."""
        norm = float(torch.stack([u.square().sum() for u in along]).sum().sqrt())
        if norm == 0:
            return [torch.zeros_like(rho) for rho in task.rhos]
        step = _LENGTH / norm
        ends = []
        for sign in (1, -1):
            there = {
                name: weight.detach() + sign * step * u
                for (name, weight), u in zip(weights.items(), along, strict=True)
            }
            ends.append(task.gradient(task.loss_of(task.ahead[0], there), task.rhos))
        return [(after - before) / (2 * step) for after, before in zip(*ends, strict=True)]
