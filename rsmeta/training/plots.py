"""Pictures of a run: curves, confusion matrix, and chips with label and prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib.figure import Figure

from rsmeta.training.chip_plots import picture_of_chips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rsmeta.tasks import Task
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.module import TaskModule

#: Scores as people write them.
_NAMES = {
    "miou": "mIoU", "macro_f1": "macro F1", "micro_f1": "micro F1", "rmse": "RMSE", "mae": "MAE",
    "r2": "R²", "mean_class_accuracy": "mean class accuracy", "mean_average_precision": "mAP",
}  # fmt: skip

#: Classes above which a confusion matrix cannot be read.
_MOST_CLASSES = 60


def run_pictures(
    module: TaskModule, data: TrainingData, history: Sequence[dict[str, float]]
) -> dict[str, Callable[[], Figure]]:
    """Return what draws each picture of a run, by file name.

    Args:
        module: The trained module; its metrics hold the last evaluation.
        data: Chips of validation, test or, failing both, training are shown.
        history: One row per epoch.
    """
    pictures: dict[str, Callable[[], Figure]] = {
        "chips.png": lambda: picture_of_chips(module, data)
    }
    if history:
        pictures["curves.png"] = lambda: _curves(history, module.task)
    compared = data.parts["validation"] or data.parts["test"]
    result = module.metrics.compute() if compared else None  # type: ignore[operator]
    if result is not None and hasattr(result, "confusion") and len(data.classes) <= _MOST_CLASSES:
        confusion = np.asarray(result.confusion, dtype=np.float64)
        names = [spec.name for spec in data.classes]
        pictures["confusion.png"] = lambda: _confusion(confusion, names)
    return pictures


def _curves(history: Sequence[dict[str, float]], task: Task) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for axis, columns in (
        (losses, {"train_loss": "training", "validation_loss": "validation"}),
        (scores, {f"validation_{score}": _NAMES.get(score, score) for score in task.scores}),
    ):  # fmt: skip
        for column, name in columns.items():
            values = [row.get(column, np.nan) for row in history]
            if np.isfinite(values).any():
                axis.plot(epochs, values, marker=".", label=name)
                axis.legend(frameon=False)
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
    losses.set_title("loss")
    scores.set_title("validation")
    if not task.less_is_better:
        scores.set_ylim(0, 1)
    return figure


def _confusion(confusion: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw row-normalised shares; rows are the reference."""
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros_like(confusion), where=totals > 0)
    side = 2.4 + 0.6 * len(names)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, col in np.ndindex(*shares.shape):
        if totals[row]:
            colour = "white" if shares[row, col] > 0.6 else "black"
            axis.text(col, row, f"{shares[row, col]:.2f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("reference")
    return figure
