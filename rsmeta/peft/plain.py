"""The two tuners that insert nothing: train the head alone, or everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.peft.tuner import TUNERS, Plan

if TYPE_CHECKING:
    from rsmeta.config.tuner import TunerSpec
    from rsmeta.peft.sites import Sited


@TUNERS.register("head")
def plan_head(backbone: Sited, spec: TunerSpec) -> Plan:
    """Plan a frozen backbone: only what stands behind it learns."""
    return Plan()


@TUNERS.register("full")
def plan_full(backbone: Sited, spec: TunerSpec) -> Plan:
    """Plan the training of every weight of the backbone."""
    return Plan(trained=frozenset(name for name, _ in backbone.named_parameters()))
