"""The tuners that insert nothing: train the head alone, some blocks, or everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.errors import TunerError
from rsmeta.peft.plan import TUNERS, Plan, block_indices

if TYPE_CHECKING:
    from rsmeta.config.tuner import TunerSpec
    from rsmeta.peft.sites import Sited


@TUNERS.register("head")
def plan_head(backbone: Sited, spec: TunerSpec) -> Plan:
    """Linear probe: the backbone stays frozen, only what stands behind it learns."""
    return Plan()


@TUNERS.register("full")
def plan_full(backbone: Sited, spec: TunerSpec) -> Plan:
    """Every weight of the backbone learns."""
    return Plan(trained=frozenset(dict(backbone.named_parameters())), place="all")


@TUNERS.register("partial")
def plan_partial(backbone: Sited, spec: TunerSpec) -> Plan:
    """Whole blocks learn in place (tuner.blocks; by default the last)."""
    last = frozenset({backbone.depth - 1})
    blocks = last if spec.blocks is None else block_indices(spec, backbone.depth)
    paths = [
        site.module
        for site in backbone.sites()
        if site.position == "block" and site.block in blocks
    ]
    if len(paths) < len(blocks):
        raise TunerError("this backbone names no blocks as a whole; use method full, or adapters")
    inside = tuple(f"{path}." for path in paths)
    names = frozenset(n for n, _ in backbone.named_parameters() if n.startswith(inside))
    return Plan(trained=names, place=f"blocks {', '.join(map(str, sorted(blocks)))}")
