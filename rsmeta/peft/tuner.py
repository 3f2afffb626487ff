"""Apply a tuner: plan first, check everything, then change the backbone in one go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsmeta.config.tuner import TunerSpec, tuner_specs
from rsmeta.errors import TunerError
from rsmeta.peft.adapted import AdaptedModule
from rsmeta.peft.plan import TUNERS, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from rsmeta.peft.adapter import Adapter
    from rsmeta.peft.sites import Site, Sited

#: Methods that leave nothing for another to add.
_ALONE = ("full",)


@dataclass(frozen=True)
class TunedPlace:
    """One row of what a tuner did.

    Args:
        site: Block and position, or the part of the backbone that learns in place.
        method: Name of the method.
        rank: Inner width; none where the method has no such thing.
        parameters: Numbers that learn there.
        lr_scale: Factor of the optimizer's learning rate.
    """

    site: str
    method: str
    rank: int | None
    parameters: int
    lr_scale: float


@dataclass(frozen=True)
class TunedSites:
    """What a tuner did.

    Args:
        method: Names of its methods, joined by ``+``.
        sites: Sites that carry an adapter and a modulator now, in order, method after method.
        adapter_parameters: Numbers in the adapters.
        backbone_parameters: Numbers in the whole backbone before.
        trained_parameters: Numbers of the backbone itself that learn in place.
        places: One row per adapter, and per method that trains in place.
        rates: Factor of the optimizer's learning rate, by the parameter's name in
            the tuned backbone.
    """

    method: str
    sites: tuple[Site, ...]
    adapter_parameters: int
    backbone_parameters: int
    trained_parameters: int
    places: tuple[TunedPlace, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """Return a one-line summary."""
        learn = self.adapter_parameters + self.trained_parameters
        share = learn / max(self.backbone_parameters, 1)
        where = f" at {len(self.sites)} sites" if self.sites else ""
        return (
            f"{self.method}{where}: {learn:,} of the backbone's {self.backbone_parameters:,} "
            f"parameters ({share:.2%})"
        )


def apply_tuner(
    backbone: Sited,
    settings: TunerSpec | Sequence[TunerSpec],
    *,
    classes: int | None = None,
) -> TunedSites:
    """Freeze the backbone, insert adapters, and unfreeze what the methods train in place.

    The backbone is untouched if anything about the settings does not fit it. Where methods
    share a module they act in the order of ``Adapter.order``, however they were listed.

    Args:
        backbone: Network with sites, without adapters yet.
        settings: One method and its options, or several that act together.
        classes: Number of classes, which ``rank: auto`` goes by.

    Returns:
        What was done.

    Raises:
        UnknownNameError: No method of that name.
        TunerError: The backbone cannot take it.
    """
    given = tuner_specs(settings if isinstance(settings, TunerSpec) else tuple(settings))
    specs = [_with_rank(spec, backbone.depth, classes) for spec in given]
    tuners = [TUNERS.get(spec.method)(spec) for spec in specs]
    if any(isinstance(module, AdaptedModule) for module in backbone.modules()):
        raise TunerError(
            "the backbone carries adapters already; apply a tuner once, to a fresh backbone"
        )
    plans = [tuner.plan(backbone) for tuner in tuners]
    _check_together(specs, plans)
    own = dict(backbone.named_parameters())
    trained = frozenset().union(*(plan.trained for plan in plans))
    places = tuple(row for spec, plan in zip(specs, plans, strict=True) for row in
                   _places(spec, plan, own))  # fmt: skip
    rates = _rates(specs, plans, own)
    for name, parameter in own.items():
        parameter.requires_grad_(name in trained)
    _insert(backbone, specs, plans)
    adapters = [adapter for plan in plans for adapter in plan.adapters.values()]
    return TunedSites(
        method="+".join(spec.method for spec in specs),
        sites=tuple(site for plan in plans for site in plan.adapters),
        adapter_parameters=_count(p for adapter in adapters for p in adapter.parameters()),
        backbone_parameters=_count(own.values()),
        trained_parameters=_count(own[name] for name in trained),
        places=places,
        rates={n: rates[id(p)] for n, p in backbone.named_parameters() if id(p) in rates},
    )


def check_tuner(settings: TunerSpec | Sequence[TunerSpec]) -> None:
    """Check methods and options before a backbone is built.

    Raises:
        UnknownNameError: No method of that name.
        ConfigError: An option that a method does not have, or a value that does not fit.
    """
    for spec in tuner_specs(settings if isinstance(settings, TunerSpec) else tuple(settings)):
        TUNERS.get(spec.method)(spec)


def auto_rank(classes: int, depth: int) -> int:
    """Return ``2^floor(log2(classes / (2 · depth)))``, at least 1.

    Source: LIFT (Shi et al., ICML 2024), whose rule MetaPEFT's published code took over.
    """
    return 1 << max(0, math.floor(math.log2(classes / (2 * depth))))


def _with_rank(spec: TunerSpec, depth: int, classes: int | None) -> TunerSpec:
    if classes is None or spec.options.get("rank") != "auto":
        return spec
    return spec.model_copy(update={"rank": auto_rank(classes, depth)})


def _check_together(specs: Sequence[TunerSpec], plans: Sequence[Plan]) -> None:
    """Refuse methods that exclude each other.

    Raises:
        TunerError: One that trains everything beside others, or one twice at a site.
    """
    for spec in specs:
        if spec.method in _ALONE and len(specs) > 1:
            raise TunerError(
                f"tuner.method={spec.method} trains every weight and combines with no other; "
                f"name it alone"
            )
    taken: set[tuple[str, str]] = set()
    for spec, plan in zip(specs, plans, strict=True):
        for site in plan.adapters:
            if (spec.method, site.name) in taken:
                raise TunerError(
                    f"the tuner names {spec.method} twice for site {site.name}; keep one of them"
                )
            taken.add((spec.method, site.name))


def _insert(backbone: Sited, specs: Sequence[TunerSpec], plans: Sequence[Plan]) -> None:
    """Put the adapters in place, those that act first the innermost."""
    grouped = [
        (path, adapters, spec)
        for spec, plan in zip(specs, plans, strict=True)
        for path, adapters in _by_module(plan.adapters).items()
    ]
    for path, adapters, spec in sorted(grouped, key=_order):
        base = backbone.get_submodule(path)
        adapted = AdaptedModule(
            base, adapters, spec.scale, name=spec.method, among_others=len(specs) > 1
        )
        backbone.set_submodule(path, adapted)
        for site, adapter in adapters.items():
            adapter.attach(backbone, site)


def _order(grouped: tuple[str, Mapping[Site, Adapter], TunerSpec]) -> int:
    return next(iter(grouped[1].values())).order


def _places(spec: TunerSpec, plan: Plan, own: Mapping[str, nn.Parameter]) -> Iterable[TunedPlace]:
    for site, adapter in plan.adapters.items():
        count = _count(adapter.parameters())
        yield TunedPlace(site.name, spec.method, adapter.rank, count, adapter.lr_scale)
    if plan.trained:
        count = _count(own[name] for name in plan.trained)
        yield TunedPlace(plan.place, spec.method, None, count, spec.lr_scale)


def _rates(
    specs: Sequence[TunerSpec], plans: Sequence[Plan], own: Mapping[str, nn.Parameter]
) -> dict[int, float]:
    """Return the learning rate of each parameter that learns, by its identity."""
    rates: dict[int, float] = {}
    for spec, plan in zip(specs, plans, strict=True):
        rates |= {id(own[name]): spec.lr_scale for name in plan.trained}
        for adapter in plan.adapters.values():
            rates |= {id(p): adapter.lr_scale for p in adapter.parameters()}
    return rates


def _by_module(adapters: Mapping[Site, Adapter]) -> dict[str, dict[Site, Adapter]]:
    grouped: dict[str, dict[Site, Adapter]] = {}
    for site, adapter in adapters.items():
        grouped.setdefault(site.module, {})[site] = adapter
    return grouped


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)
