"""Parameter-efficient tuning: adapters at the sites of a backbone, each with its modulator.

Importing the package registers every method; nothing here depends on a particular backbone.
"""

from __future__ import annotations

from rsmeta.peft import (  # each registers its methods
    bias,
    bottleneck,
    deflect,
    dora,
    layernorm,
    lora,
    mask,
    plain,
    prompts,
    ssf,
)
from rsmeta.peft.adapted import AdaptedModule
from rsmeta.peft.adapter import Adapter
from rsmeta.peft.lora import LoRA
from rsmeta.peft.merge import MergeReport, is_merged, merge, strip_merged, unmerge
from rsmeta.peft.modulation import (
    fixed_sites,
    keep_sites,
    modulate,
    reset_scales,
    scale_parameters,
    scales_of,
    site_modulators,
)
from rsmeta.peft.modulator import Modulator
from rsmeta.peft.plan import TUNERS, Plan, SiteTuner, Tuner
from rsmeta.peft.sites import Site, Sited
from rsmeta.peft.tuner import TunedPlace, TunedSites, apply_tuner, check_tuner

__all__ = [
    "TUNERS",
    "AdaptedModule",
    "Adapter",
    "LoRA",
    "MergeReport",
    "Modulator",
    "Plan",
    "Site",
    "SiteTuner",
    "Sited",
    "TunedPlace",
    "TunedSites",
    "Tuner",
    "apply_tuner",
    "bias",
    "bottleneck",
    "check_tuner",
    "deflect",
    "dora",
    "fixed_sites",
    "is_merged",
    "keep_sites",
    "layernorm",
    "lora",
    "mask",
    "merge",
    "modulate",
    "plain",
    "prompts",
    "reset_scales",
    "scale_parameters",
    "scales_of",
    "site_modulators",
    "ssf",
    "strip_merged",
    "unmerge",
]
