"""DoRA: a low-rank change of a weight's direction, and its magnitude learned (Liu et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from rsmeta.config.tuner import LowRankOptions
from rsmeta.peft.adapter import Part, bare, bias_of, weight_of
from rsmeta.peft.lora import LoRA, add_low_rank, require_linear
from rsmeta.peft.plan import TUNERS, SiteTuner, inner_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.peft.sites import Site


class DoRA(LoRA):
    """``W' = magnitude · V / |V|`` with ``V = W + (alpha / rank) · (down · up)ᵀ``, row by row.

    The site's delta is the difference from the base, ``(W' - W) · x``: zero until trained. The
    norm ``|V|`` counts as a constant in the backward pass (section 4.3 of the paper).

    Args:
        weight: The site's rows of the frozen weight, (out_features, in_features).
        rank: Width in between.
        alpha: Strength relative to the rank, unitless.

    Source: "DoRA: Weight-Decomposed Low-Rank Adaptation", Liu et al., ICML 2024, section 4.
    """

    order: ClassVar[int] = 10

    def __init__(self, weight: Tensor, *, rank: int = 8, alpha: float = 8.0) -> None:
        super().__init__(weight.shape[1], weight.shape[0], rank=rank, alpha=alpha)
        self.magnitude = nn.Parameter(_row_norms(weight.detach()))

    def gain(self, weight: Tensor) -> Tensor:
        """Return by what each row of ``V`` is multiplied, (out_features,).

        Args:
            weight: The site's rows of the frozen weight, (out_features, in_features).
        """
        with torch.no_grad():
            norms = _row_norms(weight + self.weight_delta())
        # A row of zeros has no direction: it stays zero.
        return self.magnitude / norms.clamp_min(torch.finfo(norms.dtype).tiny)

    @classmethod
    def run(cls, base: nn.Module, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Return the adapted output: rows scaled, and one low-rank product for all sites.

        With the gain g of each row: ``y + scale · ((g - 1) · (y - bias) + g · update(x))``.
        """
        module = bare(base)[1]
        weight, bias = weight_of(module), bias_of(module)
        y: Tensor = base(x)
        stretched: list[Tensor] = []
        low_rank: list[Part] = []
        for part in parts:
            gain = cast("DoRA", part.adapter).gain(part.own(weight))
            stretched.append(part.spread(part.scale * (gain - 1), y.shape[-1]))
            low_rank.append(part._replace(scale=part.scale * gain))
        extra = torch.stack(stretched).sum(dim=0)
        shift = torch.zeros_like(extra) if bias is None else -extra * bias
        y = torch.addcmul(shift.to(y.dtype), y, (1 + extra).to(y.dtype))
        return add_low_rank(y, x, low_rank)

    @classmethod
    def changed(cls, module: nn.Module, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return the weight (out, in) with all sites in it."""
        weight = weight_of(module).clone()
        for part in parts:
            adapter, own = cast("DoRA", part.adapter), part.own(weight)
            gain = adapter.gain(own)[:, None]
            own += part.scaled((gain - 1) * own + gain * adapter.weight_delta())
        return {"weight": weight}


def _row_norms(weight: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(weight, dim=1)
    return norms


@TUNERS.register("dora")
class DoRATuner(SiteTuner):
    """DoRA: LoRA of a weight's direction, its magnitude learned apart; merges."""

    Options = LowRankOptions
    positions = ("q", "v")
    more = ("k", "out", "mlp1", "mlp2")

    def adapter(self, module: nn.Module, site: Site, options: LowRankOptions) -> DoRA:
        """Return the adapter of a linear map."""
        require_linear(module, site, self.spec.method)
        rank, alpha = inner_width(options, site)
        rows = slice(*site.rows) if site.rows else slice(None)
        return DoRA(weight_of(module)[rows], rank=rank, alpha=alpha)
