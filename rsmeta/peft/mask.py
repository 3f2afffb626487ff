"""Masked tuning: a random share of the weights learns, drawn once and stored."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rsmeta.config.tuner import MaskOptions
from rsmeta.peft.adapter import weight_of
from rsmeta.peft.lora import require_linear
from rsmeta.peft.parameters import ParameterAdapter
from rsmeta.peft.plan import TUNERS, SiteTuner

if TYPE_CHECKING:
    from rsmeta.peft.sites import Site


class Masked(ParameterAdapter):
    """``weight + scale · difference`` and likewise the bias, at chosen places; zero at first.

    Args:
        shape: Of the site's weight, (out_features, in_features).
        weight_places: Which numbers of it learn, counted row by row, (n,) integer.
        bias_places: Which numbers of the bias learn, (m,) integer; none: it stays.

    Source: "Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts", Shi et al., ICML
    2024 (arbitrary lightweight fine-tuning), section 4.
    """

    weight_places: Tensor
    bias_places: Tensor

    def __init__(
        self, shape: tuple[int, int], weight_places: Tensor, bias_places: Tensor | None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.weight_values = nn.Parameter(torch.zeros(len(weight_places)))
        self.register_buffer("weight_places", weight_places.int())
        self.bias_values: nn.Parameter | None = None
        if bias_places is not None:
            self.bias_values = nn.Parameter(torch.zeros(len(bias_places)))
            self.register_buffer("bias_places", bias_places.int())

    def differences(self) -> dict[str, Tensor]:
        """Return what is added to weight (out_features, in_features) and bias (out_features,)."""
        rows, columns = self.shape
        flat = self.weight_values.new_zeros(rows * columns)
        found = {"weight": flat.index_add(0, self.weight_places, self.weight_values)}
        found["weight"] = found["weight"].view(rows, columns)
        if self.bias_values is not None:
            zeros = self.bias_values.new_zeros(rows)
            found["bias"] = zeros.index_add(0, self.bias_places, self.bias_values)
        return found


@TUNERS.register("mask")
class MaskTuner(SiteTuner):
    """Masked tuning: a random share (tuner.ratio) of weights and biases; merges."""

    Options = MaskOptions
    positions = ("q", "k", "v", "out", "mlp1", "mlp2")

    def adapter(self, module: nn.Module, site: Site, options: MaskOptions) -> Masked:
        """Return the adapter of a linear map."""
        require_linear(module, site, self.spec.method)
        # By site, so that what is drawn at one does not depend on which others are chosen.
        seed = zlib.crc32(f"{options.seed} {site.name}".encode())
        generator = torch.Generator().manual_seed(seed)
        shape = (site.out_features, weight_of(module).shape[1])
        weight_places = _draw(shape[0] * shape[1], options.ratio, generator)
        bias_places = None if module.bias is None else _draw(shape[0], options.ratio, generator)
        return Masked(shape, weight_places, bias_places)


def _draw(count: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Return a random share of the numbers below ``count``, at least one, ascending."""
    chosen = torch.randperm(count, generator=generator)[: max(1, round(ratio * count))]
    return chosen.sort().values
