"""The task whose labels are numbers: one per pixel or image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.tasks.base import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from rsmeta.losses import Loss
    from rsmeta.registry import Registry
    from rsmeta.tasks.base import TrainingData


class Regression(Task):
    """A quantity with a unit, for every pixel or image."""

    name = "regression"
    scores = ("rmse", "mae", "r2")
    less_is_better = True

    @property
    def losses(self) -> Registry[type[Loss]]:
        """Losses of numbers."""
        from rsmeta.losses import REGRESSION_LOSSES

        return REGRESSION_LOSSES

    def loss_statistics(self, data: TrainingData) -> list[float]:
        """Return the standard deviation of the training labels, (1,)."""
        return [data.target_statistics[1]]

    def metrics(self, data: TrainingData, counts: Mapping[str, int] | None = None) -> nn.Module:
        """Return the differences of estimates and labels."""
        from rsmeta.metrics import RegressionMetrics

        target = data.settings.target
        assert target is not None
        return RegressionMetrics(target.name, target.unit, centre=data.target_statistics[0])

    def count(self, metrics: Any, logits: Tensor, target: Tensor) -> None:
        """Add pixels or images."""
        metrics.update(logits.squeeze(1), target)

    def activate(self, logits: Tensor) -> Tensor:
        """Return the estimates as they are."""
        return logits.float()

    def labelled(self, target: Tensor) -> int:
        """Return how many pixels or images were measured."""
        return int(target.isfinite().sum())

    def label_table(self, data: TrainingData) -> dict[str, Any]:
        """Return name, unit, mean and deviation of the training labels, and their number."""
        target, (mean, std) = data.settings.target, data.target_statistics
        assert target is not None
        known = {"name": target.name, "unit": target.unit, "mean": mean, "std": std}
        return {"target": {**known, "labels": int(data.class_counts.sum())}}

    def outputs(self, data: TrainingData) -> int:
        """Return 1: the quantity itself."""
        return 1

    def target_scale(self, data: TrainingData) -> tuple[float, float] | None:
        """Return mean and deviation of the training labels, in their unit."""
        return data.target_statistics
