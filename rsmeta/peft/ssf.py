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
        return super().run(base, x, parts)

    @classmethod
    def add_all(cls, y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Scale and shift the outputs of all sites of a module in one pass over them."""
        factor, shift = (one.to(y.dtype) for one in _factor_and_shift(parts, y.shape[-1]))
        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or not _invertible(factor):
            return torch.addcmul(shift, y, factor)
        output: Tensor = _ScaleShift.apply(y, factor, shift)
        return output

    @classmethod
    def changed(cls, module: nn.Module, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return weight and bias (out,) with all sites in them."""
        weight, bias = weight_of(module), bias_of(module)
        factor, shift = _factor_and_shift(parts, len(weight))
        return {
            "weight": weight * factor.view(-1, *[1] * (weight.ndim - 1)),
            "bias": shift if bias is None else torch.addcmul(shift, bias, factor),
        }


class _ScaleShift(Function):
    """``y · factor + shift`` that keeps what it returns, which what follows keeps as well.

    The attention keeps its q, k and v, an activation its input; ``y``, which nothing else keeps,
    is found again from them: one activation in memory, not two.

    Source: "In-Place Activated BatchNorm for Memory-Optimized Training of DNNs", Rota Bulò et al.,
    CVPR 2018, section 3.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        """Return ``y`` (…, D) scaled and shifted by (D,) each."""
        output = torch.addcmul(shift, y, factor)
        ctx.save_for_backward(output, factor, shift)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Return the gradients of ``y``, factor and shift."""
        output, factor, shift = ctx.saved_tensors
        others = tuple(range(grad.ndim - 1))
        grad_shift = grad.sum(dim=others)
        grad_factor = ((grad * output).sum(dim=others) - shift * grad_shift) / factor
        return grad * factor, grad_factor, grad_shift


#: Factors below this in size would magnify what rounding leaves of the output.
_LEAST_FACTOR = 1 / 16


def _invertible(factor: Tensor) -> bool:
    """Return whether what was scaled can be found again from the output, to float32's digits."""
    return factor.dtype == torch.float32 and bool((factor.detach().abs() >= _LEAST_FACTOR).all())


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
