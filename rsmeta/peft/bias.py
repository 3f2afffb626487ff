"""BitFit: the biases alone learn (Ben Zaken et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rsmeta.peft.parameters import ParameterAdapter
from rsmeta.peft.plan import TUNERS, SiteTuner

if TYPE_CHECKING:
    from rsmeta.config.base import Strict
    from rsmeta.peft.sites import Site


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
class BiasTuner(SiteTuner):
    """BitFit: the biases of maps and norms; merges."""

    positions = ("norm1", "q", "k", "v", "out", "norm2", "mlp1", "mlp2")

    def adapter(self, module: nn.Module, site: Site, options: Strict) -> Bias | None:
        """Return the adapter of a bias; none where the module has none."""
        return None if module.bias is None else Bias(site.out_features)
