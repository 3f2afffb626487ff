"""The tuners that insert nothing: train the head alone, some blocks, or everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.errors import TunerError
from rsmeta.peft.plan import TUNERS, Plan, Tuner, block_indices

if TYPE_CHECKING:
    from rsmeta.peft.sites import Sited


@TUNERS.register("head")
class HeadTuner(Tuner):
    """Linear probe: the backbone stays frozen, only the head learns."""

    def plan(self, backbone: Sited) -> Plan:
        """Plan to train nothing of the backbone."""
        return Plan()


@TUNERS.register("full")
class FullTuner(Tuner):
    """Every weight of the backbone learns."""

    def plan(self, backbone: Sited) -> Plan:
        """Plan to train all weights."""
        return Plan(trained=frozenset(dict(backbone.named_parameters())), place="all")


@TUNERS.register("partial")
class PartialTuner(Tuner):
    """Whole blocks learn in place (tuner.blocks; by default the last)."""

    def plan(self, backbone: Sited) -> Plan:
        """Plan to train the chosen blocks."""
        last = frozenset({backbone.depth - 1})
        blocks = last if self.spec.blocks is None else block_indices(self.spec, backbone.depth)
        paths = [
            site.module
            for site in backbone.sites()
            if site.position == "block" and site.block in blocks
        ]
        if len(paths) < len(blocks):
            raise TunerError(
                "this backbone names no blocks as a whole; use method full, or adapters"
            )
        inside = tuple(f"{path}." for path in paths)
        names = frozenset(n for n, _ in backbone.named_parameters() if n.startswith(inside))
        return Plan(trained=names, place=f"blocks {', '.join(map(str, sorted(blocks)))}")
