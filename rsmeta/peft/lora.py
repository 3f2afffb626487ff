"""LoRA: a low-rank change of a linear map (Hu et al. 2022)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.errors import TunerError
from rsmeta.peft.adapter import Adapter, Part
from rsmeta.peft.tuner import TUNERS, Plan, select_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.tuner import TunerSpec
    from rsmeta.peft.sites import Site, Sited


class LoRA(Adapter):
    """``delta(x) = (alpha / rank) · x · down · up``; zero until ``up`` has been trained.

    Args:
        in_features: Width of the site's input.
        out_features: Width of its output.
        rank: Width in between.
        alpha: Strength relative to the rank, unitless.

    Source: "LoRA: Low-Rank Adaptation of Large Language Models", Hu et al., ICLR 2022,
    section 4.1; matrices stored (in, rank) and (rank, out) as MetaPEFT's published code does.
    """

    def __init__(
        self, in_features: int, out_features: int, *, rank: int = 8, alpha: float = 8.0
    ) -> None:
        super().__init__()
        self.scaling = alpha / rank
        self.down = nn.Parameter(torch.empty(in_features, rank))
        self.up = nn.Parameter(torch.zeros(rank, out_features))
        bound = 1 / math.sqrt(in_features)
        nn.init.uniform_(self.down, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return the change (…, out_features) of the output for ``x`` (…, in_features)."""
        return x @ self.down @ (self.up * self.scaling)

    def weight_delta(self) -> Tensor:
        """Return the same change as a weight (out_features, in_features)."""
        return (self.down @ (self.up * self.scaling)).T

    @classmethod
    def add_all(cls, y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Add all sites of one module by two products: every rank at once, down and up.

        Scales and ``alpha / rank`` are applied to the small matrices, never to activations.
        """
        downs: list[Tensor] = [cast("LoRA", part.adapter).down for part in parts]
        down = downs[0] if len(downs) == 1 else torch.cat(downs, dim=1)
        up = _stacked_up(parts, y.shape[-1])
        inner = x.reshape(-1, x.shape[-1]) @ down
        return torch.addmm(y.reshape(-1, y.shape[-1]), inner, up.to(inner.dtype)).view_as(y)

    def extra_repr(self) -> str:
        """Return the widths as they are printed within a network."""
        return f"{self.down.shape[0]} -> {self.down.shape[1]} -> {self.up.shape[1]}"


def _stacked_up(parts: Sequence[Part], out_features: int) -> Tensor:
    """Return the scaled ``up`` matrices below one another, each in its columns: (ranks, out)."""
    stacked = []
    for adapter, scale, rows in parts:
        lora = cast("LoRA", adapter)
        up = lora.up * (scale * lora.scaling)
        first, end = rows or (0, out_features)
        stacked.append(functional.pad(up, (first, out_features - end)))
    return torch.cat(stacked)


@TUNERS.register("lora")
def plan_lora(backbone: Sited, spec: TunerSpec) -> Plan:
    """Plan a LoRA at every chosen site.

    Args:
        backbone: What is to be adapted.
        spec: ``rank``, ``alpha``, ``positions``, ``blocks``.

    Returns:
        One adapter per site; the backbone's own weights stay as they are.

    Raises:
        TunerError: A chosen site is no linear map, or narrower than the rank.
    """
    return Plan(
        adapters={site: _for_site(backbone, site, spec) for site in select_sites(backbone, spec)}
    )


def _for_site(backbone: Sited, site: Site, spec: TunerSpec) -> LoRA:
    if not isinstance(backbone.get_submodule(site.module), nn.Linear):
        raise TunerError(
            f"tuner.positions names {site.position!r}, which is no linear map in this backbone; "
            f"lora takes q, k, v, out, mlp1 and mlp2"
        )
    narrow = min(site.in_features, site.out_features)
    if spec.rank > narrow:
        raise TunerError(
            f"tuner.rank={spec.rank} is larger than the width {narrow} of site {site.name}; "
            f"choose at most {narrow}"
        )
    return LoRA(site.in_features, site.out_features, rank=spec.rank, alpha=spec.alpha)
