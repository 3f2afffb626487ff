"""Scores of class maps from one confusion matrix that grows batch by batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

Labels: TypeAlias = Tensor | NDArray[np.integer[Any]]

_IGNORED = -1


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, unitless in [0, 1]; none where it is in neither map nor reference.

    Args:
        name: Name of the class.
        iou: Intersection over union.
        f1: Harmonic mean of precision and recall.
        precision: Share of its map pixels that are right; 0 where it was never mapped.
        recall: Share of its reference pixels that were found; 0 where it has none.
        pixels: Its pixels in the reference.
    """

    name: str
    iou: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    pixels: int


@dataclass(frozen=True)
class SegmentationResult:
    """Agreement of a map with its reference; none where no pixel was compared.

    Args:
        accuracy: Share of pixels that are right.
        miou: Mean IoU over classes that occur in map or reference.
        macro_f1: Mean F1 over the same classes.
        classes: Scores per class.
        confusion: Pixels by reference class (rows) and mapped class (columns), (K, K).
    """

    accuracy: float | None
    miou: float | None
    macro_f1: float | None
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def pixels(self) -> int:
        """Number of compared pixels."""
        return sum(map(sum, self.confusion))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; classes by name."""
        return {
            "accuracy": self.accuracy,
            "miou": self.miou,
            "macro_f1": self.macro_f1,
            "pixels": self.pixels,
            "classes": {
                one.name: {k: v for k, v in asdict(one).items() if k != "name"}
                for one in self.classes
            },
            "confusion": [list(row) for row in self.confusion],
        }


class SegmentationMetrics(nn.Module):
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
            ignore_index=_IGNORED,
            validate_args=False,
        )

    def update(self, predicted: Labels, target: Labels) -> None:
        """Add pixels.

        Args:
            predicted: Class indices of any shape; -1: none.
            target: Class indices of the same shape; -1: no label. Pixels where either is -1
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
        counted = (mapped != _IGNORED) & (reference != _IGNORED)
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
        """Forget all pixels."""
        self.confusion.reset()

    def compute(self) -> SegmentationResult:
        """Return the scores of all pixels so far, over all processes."""
        import warnings

        with warnings.catch_warnings():
            # nothing compared yet is a result here, not a mistake
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            matrix = self.confusion.compute()
        count = len(self.class_names)
        return scores_from_confusion(matrix[:count, :count].cpu().numpy(), self.class_names)


def scores_from_confusion(
    confusion: NDArray[np.integer[Any]], class_names: Sequence[str]
) -> SegmentationResult:
    """Return all scores of a confusion matrix.

    Args:
        confusion: Pixels by reference class (rows) and mapped class (columns), (K, K).
        class_names: Names of the K classes.
    """
    right = np.diag(confusion)
    reference, mapped = confusion.sum(axis=1), confusion.sum(axis=0)
    total = int(confusion.sum())
    classes = tuple(
        _class_scores(name, int(hit), int(in_reference), int(in_map))
        for name, hit, in_reference, in_map in zip(
            class_names, right, reference, mapped, strict=True
        )
    )
    return SegmentationResult(
        accuracy=int(right.sum()) / total if total else None,
        miou=_mean([one.iou for one in classes]),
        macro_f1=_mean([one.f1 for one in classes]),
        classes=classes,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def _class_scores(name: str, hit: int, in_reference: int, in_map: int) -> ClassScores:
    if in_reference + in_map == 0:
        return ClassScores(name, None, None, None, None, 0)
    return ClassScores(
        name=name,
        iou=hit / (in_reference + in_map - hit),
        f1=2 * hit / (in_reference + in_map),
        precision=hit / in_map if in_map else 0.0,
        recall=hit / in_reference if in_reference else 0.0,
        pixels=in_reference,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _as_tensor(labels: Labels) -> Tensor:
    if isinstance(labels, Tensor):
        return labels.detach().long()
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
