"""Masked tuning: a random share of the weights learns, drawn once and stored."""

from __future__ import annotations

import warnings
import zlib
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from rsmeta.config.tuner import MaskOptions
from rsmeta.peft.adapter import Part, weight_of
from rsmeta.peft.lora import require_linear
from rsmeta.peft.parameters import ParameterAdapter
from rsmeta.peft.plan import TUNERS, SiteTuner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.peft.sites import Site

# Said once by torch; for good, because filters that are set and reset in several threads get lost.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


class Masked(ParameterAdapter):
    """``weight + scale · difference`` and likewise the bias, at chosen places; zero at first.

    Args:
        shape: Of the site's weight, (out_features, in_features).
        weight_places: Which numbers of it learn, counted row by row, (n,) integer.
        bias_places: Which numbers of the bias learn, (m,) integer; none: it stays.

    Source: "Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts", Shi et al., ICML
    2024 (arbitrary lightweight fine-tuning), section 4.
    """

    weight_places: Tensor
    bias_places: Tensor

    def __init__(
        self, shape: tuple[int, int], weight_places: Tensor, bias_places: Tensor | None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.weight_values = nn.Parameter(torch.zeros(len(weight_places)))
        self.register_buffer("weight_places", weight_places.int())
        self.bias_values: nn.Parameter | None = None
        if bias_places is not None:
            self.bias_values = nn.Parameter(torch.zeros(len(bias_places)))
            self.register_buffer("bias_places", bias_places.int())

    @classmethod
    def run(cls, base: nn.Module, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Return the adapted output; of a plain map, the backward pass keeps its input alone."""
        if not isinstance(base, nn.Linear) or any(p.requires_grad for p in base.parameters()):
            return super().run(base, x, parts)
        changes: list[tuple[Tensor, Tensor]] = []
        bias: Tensor | None = base.bias
        for part in sorted(parts, key=lambda one: one.rows or (0, 0)):
            adapter = cast("Masked", part.adapter)
            width = base.in_features
            changes.append(_scaled_at(part, adapter.weight_places, adapter.weight_values, width))
            if adapter.bias_values is not None and bias is not None:
                change = _scaled_at(part, adapter.bias_places, adapter.bias_values, 1)
                bias = bias.index_add(0, *change)
        places, values = (
            changes[0] if len(changes) == 1 else map(torch.cat, zip(*changes, strict=True))
        )
        output: Tensor = _ChangedLinear.apply(x, base.weight, bias, places, values)
        return output

    def differences(self) -> dict[str, Tensor]:
        """Return what is added to weight (out_features, in_features) and bias (out_features,)."""
        rows, columns = self.shape
        flat = self.weight_values.new_zeros(rows * columns)
        found = {"weight": flat.index_add(0, self.weight_places, self.weight_values)}
        found["weight"] = found["weight"].view(rows, columns)
        if self.bias_values is not None:
            zeros = self.bias_values.new_zeros(rows)
            found["bias"] = zeros.index_add(0, self.bias_places, self.bias_values)
        return found


class _ChangedLinear(Function):
    """A linear map with some of its weights changed; the changed weight is made twice, not kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, places: Tensor, values: Tensor
    ) -> Tensor:
        """Return ``x`` (…, in) mapped by the weight (out, in) with ``values`` added at places."""
        ctx.save_for_backward(x, weight, places, values)
        return functional.linear(x, _changed(weight, places, values), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input, bias and values; the weight itself is frozen."""
        x, weight, places, values = ctx.saved_tensors
        grad_x = grad_bias = grad_values = None
        rows = grad.reshape(-1, grad.shape[-1])
        if ctx.needs_input_grad[0]:
            grad_x = grad @ _changed(weight, places, values).to(grad.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(dim=0)
        if ctx.needs_input_grad[4]:
            grad_values = _products_at(rows, x.reshape(-1, x.shape[-1]).to(grad.dtype), places)
        return grad_x, None, grad_bias, None, grad_values


def _products_at(left: Tensor, right: Tensor, places: Tensor) -> Tensor:
    """Return ``leftᵀ · right``, of (N, out) and (N, in), at places (n,) alone, which ascend.

    Intel's library computes no others, in less than half the time of all; it knows no gradient.
    """
    width = right.shape[1]
    has_library = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    by_library = has_library and left.device.type == "cpu"
    if not by_library or left.dtype != torch.float32 or torch.is_grad_enabled():
        return (left.T @ right).flatten().index_select(0, places)
    in_row = torch.bincount(places // width, minlength=left.shape[1])
    first = functional.pad(in_row.cumsum(dim=0), (1, 0)).int()
    pattern = torch.sparse_csr_tensor(
        first, (places % width).int(), right.new_zeros(len(places)), (left.shape[1], width),
        check_invariants=False,
    )  # fmt: skip
    values: Tensor = torch.sparse.sampled_addmm(pattern, left.T, right).values()
    return values


def _changed(weight: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Return a weight with ``values`` (n,) added at ``places`` (n,), counted row by row."""
    flat = weight.detach().flatten()
    return flat.index_add(0, places, values.to(weight.dtype)).view_as(weight)


def _scaled_at(part: Part, places: Tensor, values: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return where in the module's own parameter a site's values belong, and the scaled values.

    Args:
        part: The site.
        places: In the site's share of the parameter, counted row by row.
        values: Unscaled.
        width: Numbers in a row of the parameter.
    """
    scale = part.scale if part.scale.ndim == 0 else part.scale[places // width]
    if part.rows is not None:
        places = places + part.rows[0] * width
    return places, scale * values


@TUNERS.register("mask")
class MaskTuner(SiteTuner):
    """Masked tuning: a random share (tuner.ratio) of weights and biases; merges."""

    Options = MaskOptions
    positions = ("q", "k", "v", "out", "mlp1", "mlp2")

    def adapter(self, module: nn.Module, site: Site, options: MaskOptions) -> Masked:
        """Return the adapter of a linear map."""
        require_linear(module, site, self.spec.method)
        # By site, so that what is drawn at one does not depend on which others are chosen.
        seed = zlib.crc32(f"{options.seed} {site.name}".encode())
        generator = torch.Generator().manual_seed(seed)
        shape = (site.out_features, weight_of(module).shape[1])
        weight_places = _draw(shape[0] * shape[1], options.ratio, generator)
        bias_places = None if module.bias is None else _draw(shape[0], options.ratio, generator)
        return Masked(shape, weight_places, bias_places)


def _draw(count: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Return a random share of the numbers below ``count``, at least one, ascending."""
    chosen = torch.randperm(count, generator=generator)[: max(1, round(ratio * count))]
    return chosen.sort().values
