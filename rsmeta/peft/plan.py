"""Plans: what a method will do to a backbone, made and checked before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsmeta.config.tuner import TunerSpec, parse_block_range, parse_site_pattern
from rsmeta.errors import TunerError, enumerate_names
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from rsmeta.peft.adapter import Adapter
    from rsmeta.peft.sites import Position, Site, Sited


@dataclass(frozen=True)
class Plan:
    """What a method will do to a backbone; making one changes nothing.

    Args:
        adapters: New adapters, one per site.
        trained: Names of the backbone's own parameters that learn in place.
        place: Where those are, for people.
    """

    adapters: Mapping[Site, Adapter] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()
    place: str = ""


#: Methods: each makes a plan from a backbone and the settings, or raises ``TunerError``.
TUNERS: Registry[Callable[[Sited, TunerSpec], Plan]] = Registry("tuner")

#: Settings that every method takes, or that stand for themselves.
_COMMON = frozenset({"method", "lr_scale"})
#: Settings that every method with sites takes.
_WITH_SITES = frozenset({"positions", "blocks", "scale", "sites"})


@dataclass(frozen=True)
class Offer:
    """What a method with one adapter per site takes.

    Args:
        positions: Positions that it takes by default.
        more: Positions that it takes when they are named.
        options: Settings that it uses, beside those of every method with sites.
    """

    positions: tuple[Position, ...]
    more: tuple[Position, ...] = ()
    options: tuple[str, ...] = ()


def plan_sites(
    backbone: Sited,
    spec: TunerSpec,
    offer: Offer,
    make: Callable[[nn.Module, Site, TunerSpec], Adapter | None],
) -> Plan:
    """Plan one adapter per chosen site.

    Args:
        backbone: What is to be adapted.
        spec: Which sites, and the options of the method.
        offer: What the method takes.
        make: Makes the adapter of a site from its module and the settings there, or raises
            ``TunerError``; none: the method has nothing to act on there.

    Raises:
        TunerError: A setting or a position that the method or the backbone does not have.
    """
    refuse_others(spec, offer.options + tuple(_WITH_SITES))
    chosen = select_sites(backbone, spec, offer)
    _check_patterns(spec, chosen)
    adapters: dict[Site, Adapter] = {}
    for site in chosen:
        local = spec.at(site.block, site.position)
        adapter = make(backbone.get_submodule(site.module), site, local)
        if adapter is not None:
            adapter.lr_scale = local.lr_scale
            adapters[site] = adapter
    if not adapters:
        raise TunerError(
            f"tuner.method={spec.method} finds nothing to act on at "
            f"{enumerate_names([site.name for site in chosen], 3)}; choose other tuner.positions"
        )
    return Plan(adapters=adapters)


def select_sites(backbone: Sited, spec: TunerSpec, offer: Offer) -> tuple[Site, ...]:
    """Return the sites that ``positions`` and ``blocks`` choose, in the backbone's order.

    Raises:
        TunerError: A block or a position that the backbone or the method does not have.
    """
    blocks = block_indices(spec, backbone.depth)
    taken = (*offer.positions, *offer.more)
    offered = list(dict.fromkeys(site.position for site in backbone.sites()))
    for position in spec.positions or ():
        if position not in offered:
            raise TunerError(
                f"tuner.positions names {position!r}, which this backbone does not offer; "
                f"it has {', '.join(offered) or 'no sites'}"
            )
        if position not in taken:
            raise TunerError(
                f"tuner.positions names {position!r}, which {spec.method} does not take; "
                f"it takes {', '.join(taken)}"
            )
    wanted = spec.positions or offer.positions
    chosen = tuple(
        site for site in backbone.sites() if site.block in blocks and site.position in wanted
    )
    if not chosen:
        raise TunerError(
            f"this backbone offers none of the positions of tuner.method={spec.method} "
            f"({', '.join(wanted)}); it has {', '.join(offered) or 'no sites'}"
        )
    return chosen


def block_indices(spec: TunerSpec, depth: int) -> frozenset[int]:
    """Return the blocks that the settings choose; all if they name none.

    Raises:
        TunerError: The backbone has no such block.
    """
    if spec.blocks is None:
        return frozenset(range(depth))
    blocks = frozenset(i for entry in spec.blocks for i in parse_block_range(entry))
    if not blocks or max(blocks) >= depth:
        raise TunerError(
            f"tuner.blocks={list(spec.blocks)} does not fit a backbone of {depth} blocks; "
            f"use numbers from 0 to {depth - 1}"
        )
    return blocks


def inner_width(spec: TunerSpec, site: Site) -> tuple[int, float]:
    """Return rank and alpha at a site.

    Raises:
        TunerError: The rank is larger than the site is wide, or still ``auto``.
    """
    rank, narrow = spec.rank, min(site.in_features, site.out_features)
    if rank == "auto":
        raise TunerError("tuner.rank=auto needs the number of classes; give a number")
    if rank > narrow:
        raise TunerError(
            f"tuner.rank={rank} is larger than the width {narrow} of site {site.name}; "
            f"choose at most {narrow}"
        )
    return rank, float(rank) if spec.alpha == "rank" else spec.alpha


def refuse_others(spec: TunerSpec, options: Sequence[str]) -> None:
    """Refuse settings that were given a value and mean nothing to a method.

    Raises:
        TunerError: There is one.
    """
    taken = sorted(_COMMON | set(options))
    for name, info in TunerSpec.model_fields.items():
        if name not in taken and getattr(spec, name) != info.default:
            raise TunerError(
                f"tuner.{name}={getattr(spec, name)} means nothing to method {spec.method}; remove "
                f"it (it takes {', '.join(taken)})"
            )


def _check_patterns(spec: TunerSpec, chosen: Sequence[Site]) -> None:
    for pattern in spec.sites:
        meant = parse_site_pattern(pattern)
        if not any(meant.matches(site.block, site.position) for site in chosen):
            raise TunerError(
                f"tuner.sites names {pattern!r}, which is none of the adapted sites "
                f"({enumerate_names([site.name for site in chosen], 3)}); mend or remove it"
            )
