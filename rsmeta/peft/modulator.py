"""The modulator: the module that holds the scale of a site's adapter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rsmeta.config.meta import Parametrisation


#: Weights of what a site shares with all sites, its position and its block, and of its own ``rho``:
#: the more sites share a number, the clearer its gradient.
_WEIGHTS = (0.475, 0.2375, 0.2375, 0.05)


class Level(nn.Module):
    """A learned number that several modulators have in common.

    Args:
        rho: Its initial value.
    """

    def __init__(self, rho: float) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.tensor(rho), requires_grad=False)


class Modulator(nn.Module):
    """A scale as a function of one learned number, ``rho``; by default ``exp(rho)``.

    With ``levels``, that number is a weighted mean of the modulator's own ``rho`` and those that
    it shares with others, so that sites move together unless they have reason to differ. The
    weights add up to 1: the mean can move no further than the numbers.

    ``rho`` is a parameter that the forward pass uses, so the scale acts the same in training,
    validation and prediction, and is saved with the weights. It requires no gradient by default,
    and optimizers of the network's weights never hold it. Sites that share a scale share the
    module.

    Args:
        value: Initial scale, unitless.
        form: How the scale is computed from ``rho``; only ``raw`` can be negative.
        maximum: Upper bound of a ``sigmoid``.
        channels: Number of scales, one for each output channel of the site; none: a single one.

    Raises:
        ValueError: ``value`` is out of the form's range, or is not finite.

    Source: MetaPEFT (CVPR 2025): a scale per site, initially 1; there as ``softplus(rho)``.
    """

    weights: Tensor

    def __init__(
        self,
        value: float = 1.0,
        *,
        form: Parametrisation = "exp",
        maximum: float = 2.0,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        self.form = form
        self.maximum = maximum
        shape = () if channels is None else (channels,)
        self.rho = nn.Parameter(torch.full(shape, self._rho_of(value)), requires_grad=False)
        self.levels = nn.ModuleList()

    def forward(self) -> Tensor:
        """Return the scale, shape () or (channels,)."""
        rho = self._mixed() if self.levels else self.rho
        return _FORMS[self.form].scale(rho, self.maximum)

    def share(self, levels: Sequence[Level]) -> None:
        """Make the scale depend on three levels, too, that of most sites first.

        Where they are at ``rho``, the scale stays as it is.
        """
        self.levels = nn.ModuleList(levels)
        weights = torch.tensor(_WEIGHTS, dtype=self.rho.dtype, device=self.rho.device)
        self.register_buffer("weights", weights, persistent=False)

    def set(self, value: float) -> None:
        """Set the scale, unitless.

        Raises:
            ValueError: ``value`` is out of the form's range, or is not finite.
        """
        with torch.no_grad():
            rho = self._rho_of(value)
            if self.levels:
                self.rho.zero_()
                rho = float((rho - self._mixed()) / self.weights[-1])
            self.rho.fill_(rho)

    @torch.no_grad()
    def reset(self, value: float) -> None:
        """Set the scale, and all that it is computed from, as if it had started there.

        Raises:
            ValueError: ``value`` is out of the form's range, or is not finite.
        """
        for rho in (self.rho, *(cast("Level", level).rho for level in self.levels)):
            rho.fill_(self._rho_of(value))

    @torch.no_grad()
    def mean(self) -> float:
        """Return the scale, or its mean over channels."""
        return float(self().mean())

    @torch.no_grad()
    def strength(self) -> float:
        """Return the largest absolute scale over channels; at 0 the adapter does nothing."""
        return float(self().abs().max())

    def extra_repr(self) -> str:
        """Return the scale as a printed network shows it."""
        return f"scale={self.mean():.4g}"

    def _mixed(self) -> Tensor:
        """Return the weighted mean of what is shared and the modulator's own ``rho``."""
        shared: list[Tensor] = [cast("Level", level).rho for level in self.levels]
        return torch.dot(torch.stack([*shared, self.rho]), self.weights)

    def _rho_of(self, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError(f"a scale must be finite, not {value}")
        if self.form != "raw" and value < 0:
            raise ValueError(f"a scale must be at least 0, not {value}")
        if self.form == "sigmoid" and value >= self.maximum:
            raise ValueError(f"a scale must be below its maximum {self.maximum:g}, not {value}")
        return _FORMS[self.form].rho(value, self.maximum)


class _Form(NamedTuple):
    scale: Callable[[Tensor, float], Tensor]
    rho: Callable[[float, float], float]


def inverse_softplus(value: float) -> float:
    """Return ``rho`` with ``softplus(rho) == value`` for a value of at least 0."""
    # log(exp(v) - 1), written so that large and small values keep their digits
    return value + _log(-math.expm1(-value))


def _log(value: float) -> float:
    return math.log(value) if value else -math.inf


_FORMS: dict[Parametrisation, _Form] = {
    "softplus": _Form(lambda rho, _: functional.softplus(rho), lambda v, _: inverse_softplus(v)),
    "exp": _Form(lambda rho, _: torch.exp(rho), lambda v, _: _log(v)),
    "sigmoid": _Form(
        lambda rho, top: top * torch.sigmoid(rho), lambda v, top: _log(v) - math.log(top - v)
    ),
    "raw": _Form(lambda rho, _: rho, lambda v, _: v),
}
