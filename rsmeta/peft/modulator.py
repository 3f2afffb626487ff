"""The modulator: one positive scalar per site that says how strongly its adapter acts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Modulator(nn.Module):
    """One scale, ``softplus(rho)``.

    Being a parameter used in the forward pass, it acts alike in training, validation and
    prediction and is saved with the weights. It is fixed unless something asks for its
    gradient: optimizers of the network's weights never hold it.

    Args:
        value: Initial scale, unitless, at least 0; 0 switches the adapter off exactly.

    Raises:
        ValueError: ``value`` is negative or not finite.

    Source: MetaPEFT (CVPR 2025): per-site scale, softplus parametrisation, initially 1.
    """

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.tensor(inverse_softplus(value)), requires_grad=False)

    def forward(self) -> Tensor:
        """Return the scale, shape (), at least 0."""
        return functional.softplus(self.rho)

    def set(self, value: float) -> None:
        """Set the scale, unitless, at least 0.

        Raises:
            ValueError: ``value`` is negative or not finite.
        """
        with torch.no_grad():
            self.rho.fill_(inverse_softplus(value))

    def extra_repr(self) -> str:
        """Return the scale as it is printed within a network."""
        return f"scale={self().item():.4g}"


def inverse_softplus(value: float) -> float:
    """Return ``rho`` with ``softplus(rho) == value``; minus infinity for 0.

    Raises:
        ValueError: ``value`` is negative or not finite.
    """
    if not 0 <= value < math.inf:
        raise ValueError(f"a scale must be finite and at least 0, not {value}")
    if value == 0:
        return -math.inf
    # log(exp(v) - 1), written so that neither large nor small values lose digits
    return value + math.log(-math.expm1(-value))
