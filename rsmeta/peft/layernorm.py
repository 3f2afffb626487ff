"""LN tuning: gain and bias of the normalisations learn (Basu et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rsmeta.peft.parameters import ParameterAdapter
from rsmeta.peft.plan import TUNERS, SiteTuner

if TYPE_CHECKING:
    from rsmeta.config.base import Strict
    from rsmeta.peft.sites import Site


class Norm(ParameterAdapter):
    """``weight + scale · gain`` and ``bias + scale · shift`` of a normalisation; zero at first.

    Args:
        features: Width of the site.
        with_bias: Whether the normalisation has a bias.

    Source: "Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning", Basu et al., AAAI
    2024, where only the normalisations learn.
    """

    def __init__(self, features: int, *, with_bias: bool = True) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features)) if with_bias else None

    def differences(self) -> dict[str, Tensor]:
        """Return what is added to weight and bias, (features,) each."""
        found: dict[str, Tensor] = {"weight": self.gain}
        return found if self.shift is None else found | {"bias": self.shift}


@TUNERS.register("ln")
class NormTuner(SiteTuner):
    """LN tuning: gain and bias of the normalisations; merges."""

    positions = ("norm1", "norm2")

    def adapter(self, module: nn.Module, site: Site, options: Strict) -> Norm:
        """Return the adapter of a normalisation."""
        return Norm(site.out_features, with_bias=module.bias is not None)
