"""A tuner: every output of a linear layer times a learned gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from rsmeta.config.base import Strict
from rsmeta.peft import Adapter, SiteTuner

if TYPE_CHECKING:
    from rsmeta.peft import Site


class GainOptions(Strict):
    """Options of the tuner ``gain``: further keys of the section ``tuner``."""

    limit: float = Field(default=1.0, gt=0, description="largest change, as a share of the output")


class Gain(Adapter):
    """``delta(x) = limit · tanh(gain) · y``; zero at first."""

    def __init__(self, features: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.gain = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the change (…, out_features) of the output ``y`` (…, out_features)."""
        return y * (self.limit * torch.tanh(self.gain))


class GainTuner(SiteTuner):
    """Gain: outputs of the MLP times a learned factor; runs as it is."""

    Options = GainOptions
    positions = ("mlp1", "mlp2")

    def adapter(self, module: nn.Module, site: Site, options: GainOptions) -> Gain:
        """Return the adapter of a site."""
        return Gain(site.out_features, options.limit)
