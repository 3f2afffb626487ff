"""Apply a tuner: plan first, check everything, then change the backbone in one go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsmeta.config.tuner import TunerSpec, parse_block_range
from rsmeta.errors import TunerError
from rsmeta.peft.adapted import AdaptedModule
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import nn

    from rsmeta.peft.adapter import Adapter
    from rsmeta.peft.sites import Site, Sited


@dataclass(frozen=True)
class Plan:
    """What a method will do to a backbone; making one changes nothing.

    Args:
        adapters: New adapters, one per site.
        trained: Names of the backbone's own parameters that learn in place.
    """

    adapters: Mapping[Site, Adapter] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TunedSites:
    """What a tuner did.

    Args:
        method: Name of the method.
        sites: Sites that carry an adapter and a modulator now, in order.
        adapter_parameters: Numbers in the adapters.
        backbone_parameters: Numbers in the whole backbone before.
        trained_parameters: Numbers of the backbone itself that learn in place.
    """

    method: str
    sites: tuple[Site, ...]
    adapter_parameters: int
    backbone_parameters: int
    trained_parameters: int

    def summary(self) -> str:
        """Return one line for people."""
        learn = self.adapter_parameters + self.trained_parameters
        share = learn / max(self.backbone_parameters, 1)
        where = f" at {len(self.sites)} sites" if self.sites else ""
        return (
            f"{self.method}{where}: {learn:,} of the backbone's {self.backbone_parameters:,} "
            f"parameters ({share:.2%})"
        )


#: Methods: each makes a plan from a backbone and the settings, or raises ``TunerError``.
TUNERS: Registry[Callable[[Sited, TunerSpec], Plan]] = Registry("tuner")


def apply_tuner(backbone: Sited, settings: TunerSpec) -> TunedSites:
    """Freeze the backbone, insert adapters, and unfreeze what the method trains in place.

    The backbone is untouched if anything about the settings does not fit it.

    Args:
        backbone: Network with sites, without adapters yet.
        settings: Method and its options.

    Returns:
        What was done.

    Raises:
        UnknownNameError: No method of that name.
        TunerError: The backbone cannot take it.
    """
    method = TUNERS.get(settings.method)
    if any(isinstance(module, AdaptedModule) for module in backbone.modules()):
        raise TunerError(
            "the backbone carries adapters already; apply a tuner once, to a fresh backbone"
        )
    plan = method(backbone, settings)
    report = TunedSites(
        method=settings.method,
        sites=tuple(plan.adapters),
        adapter_parameters=_count(p for a in plan.adapters.values() for p in a.parameters()),
        backbone_parameters=_count(backbone.parameters()),
        trained_parameters=_count(
            p for name, p in backbone.named_parameters() if name in plan.trained
        ),
    )
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in plan.trained)
    for path, adapters in _by_module(plan.adapters).items():
        base = backbone.get_submodule(path)
        backbone.set_submodule(path, AdaptedModule(base, adapters, settings.scale))
    return report


def select_sites(backbone: Sited, spec: TunerSpec) -> tuple[Site, ...]:
    """Return the sites that ``positions`` and ``blocks`` choose, in the backbone's order.

    Raises:
        TunerError: A block or a position that the backbone does not have.
    """
    blocks = _block_indices(spec, backbone.depth)
    chosen = tuple(
        site
        for site in backbone.sites()
        if site.block in blocks and site.position in spec.positions
    )
    offered = list(dict.fromkeys(site.position for site in backbone.sites()))
    for position in spec.positions:
        if position not in offered:
            raise TunerError(
                f"tuner.positions names {position!r}, which this backbone does not offer; "
                f"it has {', '.join(offered) or 'no sites'}"
            )
    return chosen


def _block_indices(spec: TunerSpec, depth: int) -> frozenset[int]:
    if spec.blocks is None:
        return frozenset(range(depth))
    blocks = frozenset(i for entry in spec.blocks for i in parse_block_range(entry))
    if not blocks or max(blocks) >= depth:
        raise TunerError(
            f"tuner.blocks={list(spec.blocks)} does not fit a backbone of {depth} blocks; "
            f"use numbers from 0 to {depth - 1}"
        )
    return blocks


def _by_module(adapters: Mapping[Site, Adapter]) -> dict[str, dict[Site, Adapter]]:
    grouped: dict[str, dict[Site, Adapter]] = {}
    for site, adapter in adapters.items():
        grouped.setdefault(site.module, {})[site] = adapter
    return grouped


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)
