"""Plans: what a method will do to a backbone, made and checked before anything is changed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from rsmeta.config.base import NoOptions
from rsmeta.config.load import validate
from rsmeta.config.tuner import parse_block_range, parse_site_pattern
from rsmeta.errors import TunerError, enumerate_names
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from rsmeta.config.base import Strict
    from rsmeta.config.tuner import LowRankOptions, TunerSpec
    from rsmeta.peft.adapter import Adapter
    from rsmeta.peft.sites import Position, Site, Sited


@dataclass(frozen=True)
class Plan:
    """What a method will do to a backbone; making one changes nothing.

    Args:
        adapters: New adapters, one per site.
        trained: Names of the backbone's own parameters that learn in place.
        place: Where those are, in words.
    """

    adapters: Mapping[Site, Adapter] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()
    place: str = ""


class Tuner(ABC):
    """A method: plans what to do to a backbone; registered by name in ``TUNERS``.

    The first line of a subclass's docstring is what ``rsmeta list tuners`` shows.

    Args:
        spec: The method's settings.

    Attributes:
        Options: The method's own settings, further keys of the section ``tuner``.

    Raises:
        ConfigError: An option that the method does not have, or a value that does not fit.
    """

    Options: ClassVar[type[Strict]] = NoOptions

    def __init__(self, spec: TunerSpec) -> None:
        self.spec = spec
        self.options = self._checked(spec.options)
        for override in spec.sites.values():
            self._checked(spec.options | dict(override.model_extra or {}))

    @abstractmethod
    def plan(self, backbone: Sited) -> Plan:
        """Plan what to do; the backbone stays as it is.

        Raises:
            TunerError: The backbone does not have what the method needs.
        """

    def _checked(self, options: dict[str, Any]) -> Any:
        return validate(self.Options, options, f"tuner ({self.spec.method})")


#: Methods by name.
TUNERS: Registry[type[Tuner]] = Registry("tuner", Tuner)


class SiteTuner(Tuner):
    """A method that puts one adapter at each chosen site.

    Attributes:
        positions: Positions that it adapts by default.
        more: Positions that it adapts when they are named.
    """

    positions: ClassVar[tuple[Position, ...]]
    more: ClassVar[tuple[Position, ...]] = ()

    @abstractmethod
    def adapter(self, module: nn.Module, site: Site, options: Any) -> Adapter | None:
        """Return the adapter of a site; none if there is nothing to act on.

        Args:
            module: The module that the site is part of.
            site: Where the adapter will act.
            options: ``Options`` as they are there.

        Raises:
            TunerError: The site does not suit the method.
        """

    def plan(self, backbone: Sited) -> Plan:
        """Plan one adapter per chosen site.

        Raises:
            TunerError: A setting or a position that the method or the backbone does not have.
        """
        spec = self.spec
        chosen = select_sites(backbone, spec, self.positions, self.more)
        _check_patterns(spec, chosen)
        adapters: dict[Site, Adapter] = {}
        for site in chosen:
            local = spec.at(site.block, site.position)
            module = backbone.get_submodule(site.module)
            adapter = self.adapter(module, site, self._checked(local.options))
            if adapter is not None:
                adapter.lr_scale = local.lr_scale
                adapters[site] = adapter
        if not adapters:
            raise TunerError(
                f"tuner.method={spec.method} finds nothing to act on at "
                f"{enumerate_names([site.name for site in chosen], 3)}; choose other "
                f"tuner.positions"
            )
        return Plan(adapters=adapters)


def select_sites(
    backbone: Sited,
    spec: TunerSpec,
    positions: Sequence[Position],
    more: Sequence[Position] = (),
) -> tuple[Site, ...]:
    """Return the sites that ``positions`` and ``blocks`` choose, in the backbone's order.

    Raises:
        TunerError: A block or a position that the backbone or the method does not have.
    """
    blocks = block_indices(spec, backbone.depth)
    taken = (*positions, *more)
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
    wanted = spec.positions or positions
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


def inner_width(options: LowRankOptions, site: Site) -> tuple[int, float]:
    """Return rank and alpha at a site; the update is to be multiplied by alpha / rank.

    Raises:
        TunerError: The rank is larger than the site is wide, or still ``auto``.
    """
    rank, narrow = options.rank, min(site.in_features, site.out_features)
    if rank == "auto":
        raise TunerError("tuner.rank=auto needs the number of classes; give a number")
    if rank > narrow:
        raise TunerError(
            f"tuner.rank={rank} is larger than the width {narrow} of site {site.name}; "
            f"choose at most {narrow}"
        )
    alpha = float(rank) if options.alpha == "rank" else options.alpha
    return rank, alpha * math.sqrt(rank) if options.rank_stabilised else alpha


def _check_patterns(spec: TunerSpec, chosen: Sequence[Site]) -> None:
    for pattern in spec.sites:
        meant = parse_site_pattern(pattern)
        if not any(meant.matches(site.block, site.position) for site in chosen):
            raise TunerError(
                f"tuner.sites names {pattern!r}, which is none of the adapted sites "
                f"({enumerate_names([site.name for site in chosen], 3)}); correct or remove it"
            )
