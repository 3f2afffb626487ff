"""A module of the backbone together with the adapters and modulators of its sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from rsmeta.errors import TunerError
from rsmeta.peft.adapter import Adapter, Part, Wrapper
from rsmeta.peft.modulator import Modulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsmeta.peft.sites import Site, SitePosition


class AdaptedModule(Wrapper):
    """Stands in the backbone for ``base``: ``base(x) + Σ scale · delta(x)`` over its sites.

    Where several methods act on one module, one wraps the other.

    Args:
        base: The module that was there before.
        adapters: One adapter per site of ``base``, all of one method.
        scale: Initial value of each site's modulator, unitless.
        name: Name of the method; none: its class's.
        among_others: Whether other methods act on the backbone, too: sites then go by their
            method's name as well.
    """

    def __init__(
        self,
        base: nn.Module,
        adapters: Mapping[Site, Adapter],
        scale: float = 1.0,
        *,
        name: str | None = None,
        among_others: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.sites = {site.position: site for site in adapters}
        self.adapters = nn.ModuleDict({site.position: a for site, a in adapters.items()})
        self.modulators = nn.ModuleDict({position: Modulator(scale) for position in self.sites})
        self.scale = scale
        self.method = type(next(iter(adapters.values())))
        self.name = name or self.method.__name__
        self.among_others = among_others
        self._originals: dict[str, Tensor | None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted output (…, out) for ``x`` (…, in)."""
        if self.merged:
            unchanged: Tensor = self.base(x)
            return unchanged
        return self.method.run(self.base, x, self.parts())

    @property
    def merged(self) -> bool:
        """Whether the adapters are in the base's own parameters at present."""
        return self._originals is not None

    def merge(self) -> None:
        """Put the adapters into the base's own parameters; nothing if that is done already.

        The method must be mergeable, and whatever acts before it merged.
        """
        if self.merged:
            return
        module = self.bare()[1]
        with torch.no_grad():
            changed = self.method.changed(module, self.parts())
        self._originals = {}
        for name, value in changed.items():
            parameter: nn.Parameter | None = getattr(module, name)
            self._originals[name] = None if parameter is None else parameter.data
            if parameter is None:
                setattr(module, name, nn.Parameter(value, requires_grad=False))
            else:
                parameter.data = value.to(parameter.dtype)

    def unmerge(self) -> None:
        """Put the base's parameters back, bit for bit; nothing if it is not merged."""
        module = self.bare()[1]
        for name, original in (self._originals or {}).items():
            if original is None:
                setattr(module, name, None)
            else:
                parameter = getattr(module, name)
                parameter.data = original.to(parameter.data)
        self._originals = None

    def train(self, mode: bool = True) -> AdaptedModule:
        """Switch between training and evaluation.

        Raises:
            TunerError: Training was asked for while the adapters are merged.
        """
        if mode and self.merged:
            raise TunerError(f"{self.where} is merged and cannot be trained; unmerge it first")
        super().train(mode)
        return self

    def label(self, position: SitePosition) -> str:
        """Return what the scale of a site is known by: ``3.q``; of several methods ``3.q lora``."""
        name = self.sites[position].name
        return f"{name} {self.name}" if self.among_others else name

    @property
    def where(self) -> str:
        """Names of the sites, joined."""
        return ", ".join(site.name for site in self.sites.values())

    def parts(self) -> list[Part]:
        """Return the adapters with their scales as they are now."""
        return [
            Part(cast("Adapter", self.adapters[name]), self.modulators[name](), site.rows)
            for name, site in self.sites.items()
        ]
