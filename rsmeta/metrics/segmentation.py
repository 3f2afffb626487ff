"""Scores of class maps from one confusion matrix that grows batch by batch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.metrics.confusion import (
    ConfusionMetrics,
    accuracy,
    as_rows,
    kappa,
    mean_of_known,
)
from rsmeta.shown import Shown, View, scores_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.metrics.certainty import Certainty
    from rsmeta.metrics.confusion import Confusion, Labels


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


@dataclass(frozen=True, repr=False)
class SegmentationResult(Shown):
    """Agreement of a map with its reference; none where no pixel was compared.

    Args:
        accuracy: Share of pixels that are right.
        miou: Mean IoU over classes that occur in map or reference.
        macro_f1: Mean F1 over the same classes.
        kappa: Cohen's kappa, agreement beyond chance; none where chance alone agrees fully.
        classes: Scores per class.
        confusion: Pixels by reference class (rows) and mapped class (columns), (K, K).
        certainty: How far this can be trusted, where that is known.
    """

    accuracy: float | None
    miou: float | None
    macro_f1: float | None
    kappa: float | None
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    certainty: Certainty | None = field(default=None, kw_only=True)

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
            "kappa": self.kappa,
            "pixels": self.pixels,
            **({} if self.certainty is None else self.certainty.as_dict()),
            "classes": {one.name: self._class_dict(one) for one in self.classes},
            "confusion": [list(row) for row in self.confusion],
        }

    def _class_dict(self, one: ClassScores) -> dict[str, Any]:
        """Return the scores of a class; null and the reason where its labels are too few."""
        found = {k: v for k, v in asdict(one).items() if k != "name"}
        if self.certainty is None:
            return found
        if self.certainty.polygons is not None:
            found["polygons"] = self.certainty.polygons[one.name]
        reason = self.certainty.without_figure.get(one.name)
        if reason is not None:
            found |= dict.fromkeys(("iou", "f1", "precision", "recall")) | {"reason": reason}
        return found

    def view(self) -> View:
        """Return the scores, overall and of each class."""
        return scores_view(self.as_dict())


class SegmentationMetrics(ConfusionMetrics):
    """Accumulates the agreement of class maps, pixel by pixel.

    Args:
        class_names: Names of the classes in the order of their indices, K.
    """

    def update(self, predicted: Labels, target: Labels) -> None:
        """Add pixels.

        Args:
            predicted: Class indices of any shape; -1: none.
            target: Class indices of the same shape; -1: no label. Pixels where either is -1
                are left out.

        Raises:
            ValueError: The shapes differ, or an index is no class.
        """
        self.count(predicted, target)

    def compute(self) -> SegmentationResult:
        """Return the scores of all pixels so far, over all processes."""
        return scores_from_confusion(self.matrix(), self.class_names)


def scores_from_confusion(confusion: Confusion, class_names: Sequence[str]) -> SegmentationResult:
    """Return all scores of a confusion matrix.

    Args:
        confusion: Pixels by reference class (rows) and mapped class (columns), (K, K).
        class_names: Names of the K classes.
    """
    right = np.diag(confusion)
    reference, mapped = confusion.sum(axis=1), confusion.sum(axis=0)
    classes = tuple(
        _class_scores(name, int(hit), int(in_reference), int(in_map))
        for name, hit, in_reference, in_map in zip(
            class_names, right, reference, mapped, strict=True
        )
    )
    return SegmentationResult(
        accuracy=accuracy(confusion),
        miou=mean_of_known(one.iou for one in classes),
        macro_f1=mean_of_known(one.f1 for one in classes),
        kappa=kappa(confusion),
        classes=classes,
        confusion=as_rows(confusion),
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
