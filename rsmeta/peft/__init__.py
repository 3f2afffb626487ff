"""Parameter-efficient tuning: adapters at the sites of a backbone, each with its modulator.

Importing the package registers every method; nothing here knows a particular backbone.
"""

from __future__ import annotations

from rsmeta.peft import lora, plain  # each registers its method
from rsmeta.peft.adapted import AdaptedModule
from rsmeta.peft.adapter import Adapter
from rsmeta.peft.lora import LoRA
from rsmeta.peft.merge import is_merged, merge, unmerge
from rsmeta.peft.modulation import keep_sites, modulate, scales_of, site_modulators
from rsmeta.peft.modulator import Modulator
from rsmeta.peft.sites import Site, Sited
from rsmeta.peft.tuner import TUNERS, Plan, TunedSites, apply_tuner

__all__ = [
    "TUNERS",
    "AdaptedModule",
    "Adapter",
    "LoRA",
    "Modulator",
    "Plan",
    "Site",
    "Sited",
    "TunedSites",
    "apply_tuner",
    "is_merged",
    "keep_sites",
    "lora",
    "merge",
    "modulate",
    "plain",
    "scales_of",
    "site_modulators",
    "unmerge",
]
