"""SSF: every feature of an output scaled and shifted (Lian et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from rsmeta.peft.adapter import Adapter, Part, bare, bias_of, weight_of
from rsmeta.peft.parameters import run_changed
from rsmeta.peft.plan import TUNERS, SiteTuner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.base import Strict
    from rsmeta.peft.sites import Site


class SSF(Adapter):
    """``y · gamma + beta``, as the difference ``delta = y · (gamma - 1) + beta``; zero at first.

    Args:
        features: Width of the site's output.

    Source: "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", Lian et
    al., NeurIPS 2022, section 3.2; initially 1 and 0 exactly, so that nothing changes.
    """

    order: ClassVar[int] = 20
    mergeable: ClassVar[bool] = True

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the change (…, D) of the output ``y`` (…, D)."""
        return torch.addcmul(self.beta, y, self.gamma - 1)

    @classmethod
    def run(cls, base: nn.Module, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Return the adapted output; a norm takes it into its own gain and keeps no more."""
        if isinstance(bare(base)[1], nn.LayerNorm):
            return run_changed(cls, base, x, parts)
        # Less is kept so wherever a plain map widens.
        if (
            isinstance(base, nn.Linear)
            and base.out_features > base.in_features
            and not any(p.requires_grad for p in base.parameters())
        ):
            factor, shift = _factor_and_shift(parts, base.out_features)
            output: Tensor = _ScaledLinear.apply(x, base, factor, shift)
            return output
        return super().run(base, x, parts)

    @classmethod
    def add_all(cls, y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Scale and shift the outputs of all sites of a module in one pass over them."""
        return _scaled(y, *_factor_and_shift(parts, y.shape[-1]))

    @classmethod
    def changed(cls, module: nn.Module, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return weight and bias (out,) with all sites in them."""
        weight, bias = weight_of(module), bias_of(module)
        factor, shift = _factor_and_shift(parts, len(weight))
        return {
            "weight": weight * factor.view(-1, *[1] * (weight.ndim - 1)),
            "bias": shift if bias is None else torch.addcmul(shift, bias, factor),
        }


class _ScaledLinear(Function):
    """A frozen linear map, scaled and shifted, that keeps its input and not what it scaled.

    The backward pass computes the map again: of q, k and v three times the input's width, of the
    first layer after attention four times.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: nn.Linear, factor: Tensor, shift: Tensor) -> Tensor:
        """Return ``base(x) · factor + shift``, (…, out) for ``x`` (…, in)."""
        ctx.base = base
        ctx.save_for_backward(x, factor)
        return _scaled(base(x), factor, shift)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input, factor and shift; the map itself is frozen."""
        x, factor = ctx.saved_tensors
        others = tuple(range(grad.ndim - 1))
        weight = ctx.base.weight
        grad_x = (grad * factor) @ weight if ctx.needs_input_grad[0] else None
        y = ctx.base(x.to(weight.dtype))
        return grad_x, None, (grad * y).sum(dim=others), grad.sum(dim=others)


def _scaled(y: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """Return ``y`` (…, D) scaled and shifted by (D,) each, in its own type."""
    return torch.addcmul(shift.to(y.dtype), y, factor.to(y.dtype))


def _factor_and_shift(parts: Sequence[Part], width: int) -> tuple[Tensor, Tensor]:
    """Return by what every output is multiplied and what is added then, (width,) each."""
    factors: list[Tensor] = []
    shifts: list[Tensor] = []
    for part in parts:
        adapter = cast("SSF", part.adapter)
        factors.append(part.spread(part.scale * (adapter.gamma - 1), width))
        shifts.append(part.spread(part.scale * adapter.beta, width))
    return 1 + torch.stack(factors).sum(dim=0), torch.stack(shifts).sum(dim=0)


@TUNERS.register("ssf")
class SSFTuner(SiteTuner):
    """SSF: every feature scaled and shifted, after maps and norms (attn, mlp, ln); merges."""

    positions = ("norm1", "q", "k", "v", "out", "norm2", "mlp1", "mlp2")

    def adapter(self, module: nn.Module, site: Site, options: Strict) -> SSF:
        """Return the adapter of a map or a norm."""
        return SSF(site.out_features)
