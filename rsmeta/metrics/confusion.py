"""The confusion matrix that grows batch by batch, and what all scores of it share."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Labels: TypeAlias = Tensor | NDArray[np.integer[Any]]

#: Rows are classes of the reference, columns what was predicted.
Confusion: TypeAlias = NDArray[np.integer[Any]]

IGNORED = -1


class ConfusionMetrics(nn.Module):
    """Accumulates a confusion matrix; moves between devices and processes as a module does.

    Args:
        class_names: Names of the classes in the order of their indices, K.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        from torchmetrics import ConfusionMatrix  # slow to import

        self.class_names = tuple(class_names)
        self.confusion = ConfusionMatrix(
            task="multiclass",
            num_classes=max(len(self.class_names), 2),
            ignore_index=IGNORED,
            validate_args=False,
        )

    def count(self, predicted: Labels, target: Labels) -> None:
        """Add pixels or images to the matrix.

        Args:
            predicted: Class indices of any shape; -1: none.
            target: Class indices of the same shape; -1: no label. Places where either is -1
                are left out.

        Raises:
            ValueError: The shapes differ, or an index is no class.
        """
        device = self.confusion.device
        mapped = _as_tensor(predicted).to(device)
        reference = _as_tensor(target).to(device)
        if mapped.shape != reference.shape:
            raise ValueError(
                f"map {tuple(mapped.shape)} and reference {tuple(reference.shape)} differ in shape"
            )
        counted = (mapped != IGNORED) & (reference != IGNORED)
        mapped, reference = mapped[counted], reference[counted]
        if not mapped.numel():
            return
        last = len(self.class_names) - 1
        for labels in (mapped, reference):
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high > last:
                raise ValueError(f"class indices {low} to {high} do not lie in 0 to {last}")
        self.confusion.update(mapped, reference)

    def reset(self) -> None:
        """Forget everything."""
        self.confusion.reset()

    def matrix(self) -> Confusion:
        """Return the confusion matrix (K, K) of all so far, over all processes."""
        count = len(self.class_names)
        matrix: Confusion = computed(self.confusion)[:count, :count].cpu().numpy()
        return matrix


def computed(metric: Any) -> Any:
    """Return what a metric of torchmetrics computes, also before it saw anything."""
    import warnings

    with warnings.catch_warnings():
        # nothing compared yet is a result here, not a mistake
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        return metric.compute()


def accuracy(confusion: Confusion) -> float | None:
    """Return the share on the diagonal; none where nothing was compared."""
    total = int(confusion.sum())
    return int(np.trace(confusion)) / total if total else None


def kappa(confusion: Confusion) -> float | None:
    """Return Cohen's kappa: agreement beyond chance; none where chance alone agrees fully.

    Source: Cohen 1960.
    """
    total = int(confusion.sum())
    by_chance = sum(int(a) * int(b) for a, b in zip(*_margins(confusion), strict=True))
    if total**2 == by_chance:
        return None
    return (total * int(np.trace(confusion)) - by_chance) / (total**2 - by_chance)


def _margins(confusion: Confusion) -> tuple[Confusion, Confusion]:
    return confusion.sum(axis=1), confusion.sum(axis=0)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not none; none where there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def as_rows(confusion: Confusion) -> tuple[tuple[int, ...], ...]:
    """Return the matrix as plain numbers."""
    return tuple(tuple(int(n) for n in row) for row in confusion)


def _as_tensor(labels: Labels) -> Tensor:
    if isinstance(labels, Tensor):
        return labels.detach().long()
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
