"""LoRA: a low-rank change of a linear map (Hu et al. 2022)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from rsmeta.config.tuner import LoRAOptions
from rsmeta.errors import TunerError
from rsmeta.peft.adapted import AdaptedModule
from rsmeta.peft.adapter import Adapter, Part, bias_of, weight_of
from rsmeta.peft.plan import TUNERS, SiteTuner, inner_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.peft.sites import Site


class LoRA(Adapter):
    """``delta(x) = (alpha / rank) · x · down · up``; zero until ``up`` has been trained.

    Args:
        in_features: Width of the site's input.
        out_features: Width of its output.
        rank: Width in between.
        alpha: Strength relative to the rank, unitless.
        largest: Frobenius norm above which the delta is normalised to it, so that the site's
            scale alone says how strong the change is; none: never.

    Source: "LoRA: Low-Rank Adaptation of Large Language Models", Hu et al., ICLR 2022,
    section 4.1; matrices stored (in, rank) and (rank, out) as MetaPEFT's published code does.
    ``largest`` applies DoRA's separation of norm and direction to the change.
    """

    order: ClassVar[int] = 15
    mergeable: ClassVar[bool] = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int = 8,
        alpha: float = 8.0,
        largest: float | None = None,
    ) -> None:
        super().__init__()
        self._scaling = alpha / rank
        self._largest = largest
        self.down = nn.Parameter(torch.empty(in_features, rank))
        self.up = nn.Parameter(torch.zeros(rank, out_features))
        bound = 1 / math.sqrt(in_features)
        nn.init.uniform_(self.down, -bound, bound)

    @property
    def rank(self) -> int:
        """Width in between."""
        return self.down.shape[1]

    @property
    def scaling(self) -> float | Tensor:
        """Factor of the matrices' product; where it limits the norm, no gradient passes it."""
        if self._largest is None:
            return self._scaling
        with torch.no_grad():  # |down · up| from products of the rank's size
            gram = (self.down.T @ self.down) * (self.up @ self.up.T)
            norm = self._scaling * gram.sum().clamp(min=0.0).sqrt()
            return self._scaling * self._largest / norm.clamp(min=self._largest)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
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
        return add_low_rank(y, x, parts)

    @classmethod
    def changed(cls, module: nn.Module, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return the weight (out, in) with all sites in it."""
        weight = weight_of(module).clone()
        for part in parts:
            own = part.own(weight)
            own += part.scaled(cast("LoRA", part.adapter).weight_delta()).to(weight.dtype)
        return {"weight": weight}

    def extra_repr(self) -> str:
        """Return the widths as they are printed within a network."""
        return f"{self.down.shape[0]} -> {self.down.shape[1]} -> {self.up.shape[1]}"


class LoRAOnOutput(LoRA):
    """LoRA that reads what comes out of the module, not what goes in; linear all the same.

    Source: MetaPEFT's published code, which so adapts the projection out of attention.
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the change (…, out_features) for the output ``y`` (…, out_features)."""
        return super().forward(y, y)

    @classmethod
    def add_all(cls, y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Add the update of the one site of a module that is not fused."""
        return super().add_all(y, y, parts)

    @classmethod
    def changed(cls, module: nn.Module, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return weight (out, in) and bias (out,) with the update in them."""
        (part,) = parts
        delta = part.scaled(cast("LoRA", part.adapter).weight_delta())
        weight, bias = weight_of(module), bias_of(module)
        changed = {"weight": weight + delta @ weight}
        return changed if bias is None else changed | {"bias": bias + delta @ bias}


def add_low_rank(y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
    """Return ``y`` (…, out) with the scaled updates of all sites of a module for ``x`` (…, in)."""
    down, up = low_rank_pair(parts, y.shape[-1])
    inner = x.reshape(-1, x.shape[-1]) @ down
    return torch.addmm(y.reshape(-1, y.shape[-1]), inner, up.to(inner.dtype)).view_as(y)


def low_rank_pair(parts: Sequence[Part], width: int) -> tuple[Tensor, Tensor]:
    """Return the updates of all sites of a module as one, of the rank that is their sum.

    Args:
        parts: The sites.
        width: Width of the module's output.

    Returns:
        Down (in, ranks) and up (ranks, width), scales and strengths in the latter.
    """
    adapters = [cast("LoRA", part.adapter) for part in parts]
    downs: list[Tensor] = [adapter.down for adapter in adapters]
    ups = [
        part.spread(adapter.up * (part.scale * adapter.scaling), width)
        for adapter, part in zip(adapters, parts, strict=True)
    ]
    return (downs[0] if len(downs) == 1 else torch.cat(downs, dim=1)), torch.cat(ups)


def lora_parts(backbone: nn.Module) -> dict[str, tuple[nn.Linear, list[Part]]]:
    """Return each module that LoRA adapts with all its sites, by its path before tuning."""
    found: dict[str, tuple[nn.Linear, list[Part]]] = {}
    for path, adapted in backbone.named_modules():
        if isinstance(adapted, AdaptedModule) and issubclass(adapted.method, LoRA):
            while path.endswith(".base"):
                path = path.removesuffix(".base")
            module = cast("nn.Linear", adapted.bare()[1])
            found.setdefault(path, (module, []))[1].extend(adapted.parts())
    return found


@TUNERS.register("lora")
class LoRATuner(SiteTuner):
    """LoRA: low-rank changes of q, v or any linear map; merges."""

    Options = LoRAOptions
    positions = ("q", "v")
    more = ("k", "out", "mlp1", "mlp2")

    def adapter(self, module: nn.Module, site: Site, options: LoRAOptions) -> LoRA:
        """Return the adapter of a linear map."""
        require_linear(module, site, self.spec.method)
        rank, alpha = inner_width(options, site)
        largest = None
        if options.norm is not None:
            rows = slice(*site.rows) if site.rows else slice(None)
            largest = options.norm * float(weight_of(module)[rows].detach().norm())
        reads_output = site.position == "out" and options.out_reads == "output"
        kind = LoRAOnOutput if reads_output else LoRA
        width = site.out_features if reads_output else site.in_features
        return kind(width, site.out_features, rank=rank, alpha=alpha, largest=largest)


def require_linear(module: nn.Module, site: Site, method: str) -> None:
    """Refuse a site that is no linear map.

    Raises:
        TunerError: It is none.
    """
    if not isinstance(module, nn.Linear):
        raise TunerError(
            f"tuner.positions names {site.position!r}, which is no linear map in this backbone; "
            f"{method} adapts linear maps only"
        )
