"""A module of the backbone together with the adapters and modulators of its sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from rsmeta.errors import TunerError
from rsmeta.peft.adapter import Adapter, Part
from rsmeta.peft.modulator import Modulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsmeta.peft.sites import Site


class AdaptedModule(nn.Module):
    """Stands in the backbone for ``base``: ``base(x) + Σ scale · delta(x)`` over its sites.

    Args:
        base: The module that was there before.
        adapters: One adapter per site of ``base``, all of one method.
        scale: Initial value of each site's modulator, unitless.
    """

    def __init__(
        self, base: nn.Module, adapters: Mapping[Site, Adapter], scale: float = 1.0
    ) -> None:
        super().__init__()
        self.base = base
        self.sites = {site.position: site for site in adapters}
        self.adapters = nn.ModuleDict({site.position: a for site, a in adapters.items()})
        self.modulators = nn.ModuleDict({position: Modulator(scale) for position in self.sites})
        self._method = type(next(iter(adapters.values())))
        self._original: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted output (…, out) for ``x`` (…, in)."""
        y: Tensor = self.base(x)
        if self.merged:
            return y
        return self._method.add_all(y, x, self._parts())

    @property
    def merged(self) -> bool:
        """Whether the adapters are in the base's weight at present."""
        return self._original is not None

    def weight_delta(self) -> Tensor:
        """Return the change (out, in) of the base's weight that equals all adapters together.

        Raises:
            TunerError: The base is no linear map, or an adapter is not linear.
        """
        if not isinstance(self.base, nn.Linear):
            raise TunerError(f"{self._where()}: adapters of a non-linear module cannot be merged")
        total = torch.zeros_like(self.base.weight, dtype=torch.float32)
        for adapter, scale, rows in self._parts():
            delta = adapter.weight_delta()
            if delta is None:
                raise TunerError(
                    f"{self._where()}: {type(adapter).__name__} is not linear and cannot be "
                    f"merged; predict with it unmerged"
                )
            total[slice(*rows) if rows else slice(None)] += scale.reshape(-1, 1) * delta
        return total

    def merge(self) -> None:
        """Fold the adapters into the base's weight; nothing if that is done already."""
        if self.merged:
            return
        with torch.no_grad():
            delta = self.weight_delta()
            weight = cast("nn.Linear", self.base).weight
            self._original = weight.data
            weight.data = weight.data + delta.to(weight.dtype)

    def unmerge(self) -> None:
        """Put the base's weight back, bit for bit; nothing if it is not merged."""
        if self._original is None:
            return
        weight = cast("nn.Linear", self.base).weight
        weight.data = self._original.to(weight.data)
        self._original = None

    def train(self, mode: bool = True) -> AdaptedModule:
        """Switch between training and evaluation.

        Raises:
            TunerError: Training was asked for while the adapters are merged.
        """
        if mode and self.merged:
            raise TunerError(f"{self._where()} is merged and cannot be trained; unmerge it first")
        super().train(mode)
        return self

    def _parts(self) -> list[Part]:
        return [
            Part(cast("Adapter", self.adapters[name]), self.modulators[name](), site.rows)
            for name, site in self.sites.items()
        ]

    def _where(self) -> str:
        return ", ".join(site.name for site in self.sites.values())
