"""The one form of every adapter: a site's output is ``base(x) + scale * delta(x)``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


class Part(NamedTuple):
    """One site's share in an adapted module.

    Args:
        adapter: What computes the site's delta.
        scale: The site's modulator, shape () or (out_features,).
        rows: Slice of the module's outputs that the delta is added to; none: all of them.
    """

    adapter: Adapter
    scale: Tensor
    rows: tuple[int, int] | None


class Adapter(nn.Module, ABC):
    """Computes the change of one site's output; methods derive from it.

    A method that is not additive by nature returns its difference from the base.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the change of the site's output, unscaled.

        Args:
            x: What goes into the site, (…, in_features).

        Returns:
            Delta (…, out_features).
        """

    def weight_delta(self) -> Tensor | None:
        """Return the change of the base's weight (out_features, in_features) that does the same.

        Returns:
            The matrix, unscaled, or none where the method is not linear in ``x``.
        """
        return None

    @classmethod
    def add_all(cls, y: Tensor, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Add the scaled deltas of all sites of one module to its output.

        Methods override this where several sites can share their work.

        Args:
            y: Output of the base, (…, out).
            x: Input of the base, (…, in).
            parts: The sites, all of this method.

        Returns:
            The adapted output (…, out).
        """
        for adapter, scale, rows in parts:
            delta = scale * adapter(x)
            if rows is not None:
                delta = functional.pad(delta, (rows[0], y.shape[-1] - rows[1]))
            y = y + delta
        return y
