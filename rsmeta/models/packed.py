"""Frozen linear maps whose weights lie in memory as the processor reads them.

A matrix product on a CPU arranges its weight anew every time. oneDNN, which torch is built with,
multiplies by one that was arranged once, *packed*: the same numbers, added in another order. What
that gains is measured by ``bench_packed.py``, ``bench_adapters.py`` and ``bench_predict.py``.
"""

# ruff: noqa: SLF001 - torch has no public name for products by packed weights

from __future__ import annotations

import contextlib
import platform
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

#: Below this a product takes as long either way.
_FEWEST_WEIGHTS = 2**16
#: A network of more than this many bytes is left as it is: packs are copies.
_MOST_BYTES = 2 * 10**9
#: Smaller patches are convolved as fast as they are multiplied.
_SMALLEST_PATCH_PX = 8


class _Pack(NamedTuple):
    """A weight (out, in), packed.

    Attributes:
        source: The weight; holds its memory, so that no other can lie there.
        version: How often it had been changed in place.
        forward: For ``x · weightᵀ``.
        backward: For ``grad · weight``; none: not yet asked for.
    """

    source: Tensor
    version: int
    forward: Tensor
    backward: Tensor | None

    def is_of(self, weight: Tensor) -> bool:
        """Return whether this is that weight as it is now."""
        same = self.source.data_ptr() == weight.data_ptr()
        return same and self.version == weight._version


class _Packing(nn.Module):
    """A layer that packs its weight when it first needs it, and again when it is another.

    Packs are no part of the layer's state: copies, files and other devices go without.
    """

    weight: Tensor
    _pack: _Pack | None = None

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return ``x`` (…, in) times the weight as (out, in), and the bias: (…, out)."""
        weight = self.weight.flatten(1)
        if not _can_pack(x, self.weight):
            return functional.linear(x, weight, bias)
        trains_bias = bias is not None and bias.requires_grad
        learns = torch.is_grad_enabled() and (x.requires_grad or trains_bias)
        pack = self._packed(weight.detach(), backward=learns)
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        product: Tensor = (
            _Product.apply(rows, pack.forward, pack.backward, bias)
            if learns
            else _multiply(rows, pack.forward, bias)
        )
        return product.view(*x.shape[:-1], -1)

    def _packed(self, weight: Tensor, *, backward: bool) -> _Pack:
        pack = self._pack
        if pack is None or not pack.is_of(weight):
            pack = self._pack = _Pack(weight, weight._version, _arranged(weight), None)
        if backward and pack.backward is None:
            pack = self._pack = pack._replace(backward=_arranged(weight.T))
        return pack

    def forget_pack(self) -> None:
        """Give back what the pack takes; the next product makes it again."""
        self._pack = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.forget_pack()
        return cast("Self", super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pack"}


class PackedLinear(_Packing, nn.Linear):
    """``nn.Linear`` that multiplies by a packed weight while that is frozen, on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of ``x`` (…, in): (…, out)."""
        return self._product(x, self.bias)


class PatchProduct(_Packing, nn.Conv2d):
    """Patch embedding ``nn.Conv2d`` that is one product of patches by the filters, on a CPU.

    With a dozen bands that takes half the time of the convolution, forward and backward.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, D, H / p, W / p) of ``x`` (B, C, H, W), borders left out."""
        if not _computes_here(x) or x.ndim != 4:
            return super().forward(x)
        (high, wide), (batch, bands) = self.stride, x.shape[:2]
        rows, columns = x.shape[2] // high, x.shape[3] // wide
        within = x[:, :, : rows * high, : columns * wide]
        patches = within.reshape(batch, bands, rows, high, columns, wide)
        flat = patches.permute(0, 2, 4, 1, 3, 5).reshape(-1, bands * high * wide)
        tokens = self._product(flat, self.bias)
        return tokens.view(batch, rows, columns, -1).permute(0, 3, 1, 2)


class _Product(Function):
    """A product by a frozen packed weight; its gradient is the product by the transposed one."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, packed: Tensor, transposed: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Return ``x`` (N, in) mapped, (N, out); no activation is kept."""
        ctx.packed, ctx.transposed = packed, transposed
        return _multiply(x, packed, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input and bias."""
        (grad,) = grads
        needs_x, _, _, needs_bias = ctx.needs_input_grad
        rows = grad.contiguous()
        grad_x = _Product.apply(rows, ctx.transposed, ctx.packed, None) if needs_x else None
        grad_bias = grad.sum(dim=0) if needs_bias else None
        return grad_x, None, None, grad_bias


def pack_frozen(network: nn.Module) -> None:
    """Let large linear maps and patch embeddings multiply by packed weights while they are frozen.

    Their parameters, names and state are what they were. Nothing where torch or the processor
    knows no packed weights.

    Args:
        network: Changed in place.
    """
    layers = [one for one in network.modules() if _gains(one)]
    size = sum(cast("Tensor", one.weight).nbytes for one in layers)
    if not has_packs() or size > _MOST_BYTES:
        return
    for layer in layers:
        layer.__class__ = PackedLinear if isinstance(layer, nn.Linear) else PatchProduct


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Freeze all parameters meanwhile, so that every large map is packed."""
    learning = [one for one in network.parameters() if one.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for layer in network.modules():
            if isinstance(layer, _Packing) and layer.weight.requires_grad:
                layer.forget_pack()  # some optimizers change weights without leaving a trace


def _gains(layer: nn.Module) -> bool:
    """Return whether a layer is one that a pack makes faster."""
    if type(layer) is nn.Linear:
        return layer.weight.numel() >= _FEWEST_WEIGHTS
    return (
        type(layer) is nn.Conv2d
        and layer.weight.numel() >= _FEWEST_WEIGHTS
        and layer.kernel_size == layer.stride
        and min(layer.kernel_size) >= _SMALLEST_PATCH_PX
        and (layer.groups, layer.dilation, layer.padding) == (1, (1, 1), (0, 0))
    )


@cache
def has_packs() -> bool:
    """Return whether torch multiplies by packed weights here; measured on x86-64 alone."""
    return (
        platform.machine().lower() in {"x86_64", "amd64"}
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _can_pack(x: Tensor, weight: Tensor) -> bool:
    return (
        not weight.requires_grad
        and _computes_here(x)
        and x.numel() > 0
        and weight.is_contiguous()
        and not weight.is_inference()
        and weight.dtype == torch.float32
    )


def _computes_here(x: Tensor) -> bool:
    """Return whether this CPU computes with ``x`` itself, in float32, now."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0  # forward derivatives, which oneDNN has none of
    )


def _arranged(weight: Tensor) -> Tensor:
    with torch.inference_mode(mode=False), torch.no_grad():
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return product
