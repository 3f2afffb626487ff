"""Scores of estimated numbers from sums that grow batch by batch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rsmeta.metrics.confusion import computed
from rsmeta.shown import Shown, View, scores_view

if TYPE_CHECKING:
    from torch import Tensor

#: Sums that are kept: number, differences, their sizes and squares, labels and their squares.
_SUMS = ("count", "difference", "absolute", "squared", "label", "label_squared")


@dataclass(frozen=True, repr=False)
class RegressionResult(Shown):
    """Scores of estimates; none where nothing was compared.

    Args:
        rmse: Root of the mean squared difference, in the labels' unit.
        mae: Mean absolute difference likewise.
        bias: Mean of estimate less label likewise.
        r2: Share of the labels' variance that is explained; none where they do not vary.
        count: Compared pixels or images.
        name: What was estimated.
        unit: Its unit; none: it has none.
    """

    rmse: float | None
    mae: float | None
    bias: float | None
    r2: float | None
    count: int
    name: str
    unit: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""
        return asdict(self)

    def view(self) -> View:
        """Return the scores, overall and of each class."""
        return scores_view(self.as_dict())


class RegressionMetrics(nn.Module):
    """Accumulates the scores of estimates; moves between devices and processes as a module does.

    Args:
        name: What is estimated.
        unit: Its unit, if any.
        centre: A typical label: variances are summed around it, so that none is lost to rounding.
    """

    def __init__(self, name: str, unit: str | None = None, *, centre: float = 0.0) -> None:
        super().__init__()
        from torchmetrics import SumMetric  # slow to import

        self.name, self.unit, self.centre = name, unit, centre
        self.sums = nn.ModuleDict({kind: SumMetric() for kind in _SUMS})
        for one in self.sums.values():
            one.set_dtype(torch.float64)  # type: ignore[operator]  # a metric's own

    def update(self, estimated: Tensor, target: Tensor) -> None:
        """Add pixels or images.

        Args:
            estimated: Numbers of any shape.
            target: What was measured, of the same shape; NaN: nothing was.

        Raises:
            ValueError: The shapes differ.
        """
        if estimated.shape != target.shape:
            raise ValueError(
                f"estimates {tuple(estimated.shape)} and labels {tuple(target.shape)} differ in "
                f"shape"
            )
        known = target.isfinite()
        label = target.detach()[known].double() - self.centre
        difference = estimated.detach()[known].double() - self.centre - label
        added = (torch.ones_like(label), difference, difference.abs(), difference.square(), label,
                 label.square())  # fmt: skip
        for kind, values in zip(_SUMS, added, strict=True):
            self.sums[kind].update(values.sum())  # type: ignore[operator]

    def reset(self) -> None:
        """Forget everything."""
        for one in self.sums.values():
            one.reset()  # type: ignore[operator]

    def compute(self) -> RegressionResult:
        """Return the scores of all so far, over all processes."""
        sums = {kind: float(computed(one)) for kind, one in self.sums.items()}
        count = int(sums["count"])
        if not count:
            return RegressionResult(None, None, None, None, 0, self.name, self.unit)
        variation = sums["label_squared"] - sums["label"] ** 2 / count
        varies = variation > 1e-9 * max(sums["label_squared"], 1e-30)
        return RegressionResult(
            rmse=math.sqrt(sums["squared"] / count),
            mae=sums["absolute"] / count,
            bias=sums["difference"] / count,
            r2=1 - sums["squared"] / variation if varies else None,
            count=count,
            name=self.name,
            unit=self.unit,
        )
