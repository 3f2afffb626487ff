"""Steps of the weights' optimizer as pure functions, for strategies that look ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rsmeta.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

#: What an optimizer stores for one weight: momentum, squares, number of steps.
Moments = dict[str, Any]


def sgd_step(
    weight: Tensor, gradient: Tensor, moments: Moments, options: Mapping[str, Any]
) -> tuple[Tensor, Moments]:
    """Return the weight after a step of SGD with momentum, and its new moments.

    Source: ``torch.optim.SGD``.
    """
    gradient = gradient + options["weight_decay"] * weight
    if not options["momentum"]:
        return weight - options["lr"] * gradient, {}
    before = moments.get("momentum_buffer")
    if before is None:
        buffer = gradient
    else:
        buffer = options["momentum"] * before + (1 - options["dampening"]) * gradient
    ahead = gradient + options["momentum"] * buffer if options["nesterov"] else buffer
    return weight - options["lr"] * ahead, {"momentum_buffer": buffer}


def adam_step(
    weight: Tensor, gradient: Tensor, moments: Moments, options: Mapping[str, Any]
) -> tuple[Tensor, Moments]:
    """Return the weight after a step of Adam, or AdamW if ``decoupled``, and its new moments.

    Source: ``torch.optim.Adam`` and ``AdamW``.
    """
    beta1, beta2 = options["betas"]
    if options["decoupled"]:
        weight = weight * (1 - options["lr"] * options["weight_decay"])
    else:
        gradient = gradient + options["weight_decay"] * weight
    zero = torch.zeros_like(weight)
    step = float(moments.get("step", 0)) + 1
    mean = beta1 * moments.get("exp_avg", zero) + (1 - beta1) * gradient
    square = beta2 * moments.get("exp_avg_sq", zero) + (1 - beta2) * gradient * gradient
    # The root has no derivative at 0, where weights that got no gradient yet still are.
    root = torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)
    divisor = root / (1 - beta2**step) ** 0.5 + options["eps"]
    moved = weight - options["lr"] / (1 - beta1**step) * mean / divisor
    return moved, {"step": step, "exp_avg": mean, "exp_avg_sq": square}


class InnerSteps:
    """The optimizer of the weights as it is now, as a function of weights and gradients.

    Args:
        optimizer: SGD, Adam or AdamW; it is read, never changed.
        network: Names the weights that the optimizer steps.
        clip_norm: Gradients are clipped to this norm, as in training; none: never.

    Raises:
        TrainingError: Another optimizer, or an option of it that is not supported.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, network: nn.Module, clip_norm: float | None = None
    ) -> None:
        decoupled = isinstance(optimizer, torch.optim.AdamW)
        adam = isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)
        odd = [o for g in optimizer.param_groups for o in ("amsgrad", "maximize") if g.get(o)]
        if odd or not (adam or isinstance(optimizer, torch.optim.SGD)):
            raise TrainingError(
                f"meta.strategy cannot look ahead through {type(optimizer).__name__}"
                f"{' with ' + odd[0] if odd else ''}; use sgd or adamw, or "
                f"meta.strategy=first_order"
            )
        self._step = adam_step if adam else sgd_step
        self._clip_norm = clip_norm
        names = {id(p): name for name, p in network.named_parameters()}
        self.weights: dict[str, Tensor] = {}
        self.moments: dict[str, Moments] = {}
        self._options: dict[str, Mapping[str, Any]] = {}
        for group in optimizer.param_groups:
            options = {k: v for k, v in group.items() if k != "params"} | {"decoupled": decoupled}
            for weight in group["params"]:
                name = names[id(weight)]
                self.weights[name] = weight.detach().requires_grad_()
                self.moments[name] = dict(optimizer.state.get(weight, {}))
                self._options[name] = options

    def step(
        self,
        weights: Mapping[str, Tensor],
        gradients: Sequence[Tensor],
        moments: Mapping[str, Moments],
    ) -> tuple[dict[str, Tensor], dict[str, Moments]]:
        """Return weights and moments one step ahead.

        Args:
            weights: By name, as in ``self.weights``.
            gradients: One per weight, in that order.
            moments: By name, as in ``self.moments``.
        """
        moved, remembered = {}, {}
        for (name, weight), gradient in zip(weights.items(), self._clip(gradients), strict=True):
            moved[name], remembered[name] = self._step(
                weight, gradient, moments[name], self._options[name]
            )
        return moved, remembered

    def _clip(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Scale as ``torch.nn.utils.clip_grad_norm_`` does."""
        if self._clip_norm is None:
            return gradients
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        if norm == 0:  # whose root has no derivative
            return gradients
        factor = torch.clamp(self._clip_norm / (norm.sqrt() + 1e-6), max=1.0)
        return [gradient * factor for gradient in gradients]
