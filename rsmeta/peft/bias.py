"""BitFit: the biases alone learn (Ben Zaken et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rsmeta.peft.parameters import ParameterAdapter
from rsmeta.peft.plan import TUNERS, Offer, Plan, plan_sites

if TYPE_CHECKING:
    from rsmeta.config.tuner import TunerSpec
    from rsmeta.peft.sites import Site, Sited


class Bias(ParameterAdapter):
    """``bias + scale · shift``; zero at first.

    Args:
        features: Width of the site's output.

    Source: "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
    Language-models", Ben Zaken et al., ACL 2022.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))

    def differences(self) -> dict[str, Tensor]:
        """Return what is added to the bias, (out_features,)."""
        return {"bias": self.shift}


@TUNERS.register("bias")
def plan_bias(backbone: Sited, spec: TunerSpec) -> Plan:
    """BitFit: the biases of maps and norms; merges."""
    offer = Offer(("norm1", "q", "k", "v", "out", "norm2", "mlp1", "mlp2"))
    return plan_sites(backbone, spec, offer, _for_site)


def _for_site(module: nn.Module, site: Site, spec: TunerSpec) -> Bias | None:
    return None if module.bias is None else Bias(site.out_features)
