"""Scores of images with one label each, with what counts where classes are unequally frequent."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import fmean, harmonic_mean
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.metrics.confusion import (
    IGNORED,
    ConfusionMetrics,
    accuracy,
    as_rows,
    computed,
    mean_of_known,
)
from rsmeta.shown import Shown, View, scores_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from rsmeta.metrics.confusion import Confusion


@dataclass(frozen=True)
class ClassAccuracy:
    """Scores of one class, unitless in [0, 1]; none where no compared image is of it.

    Args:
        name: Name of the class.
        accuracy: Share of its images that were recognised.
        f1: Harmonic mean of accuracy and precision.
        precision: Share of the images taken for it that are of it; 0 where there are none.
        images: Its images in the reference.
    """

    name: str
    accuracy: float | None
    f1: float | None
    precision: float | None
    images: int


@dataclass(frozen=True, repr=False)
class ClassificationResult(Shown):
    """Scores of images, unitless in [0, 1]; none where there is nothing to score.

    A class without a compared image counts in no mean over classes.

    Args:
        accuracy: Share of images that are right.
        mean_class_accuracy: Mean of the accuracies of the classes.
        harmonic_mean: Their harmonic mean; 0 as soon as one class is never recognised.
        geometric_mean: Their geometric mean; 0 as soon as one class is never recognised.
        macro_f1: Mean F1 over the same classes.
        worst_class: Name of the class with the lowest accuracy; the first of several.
        worst_accuracy: Its accuracy.
        calibration_error: Expected calibration error of the confidences.
        groups: Mean class accuracy of each group of classes, by the group's name.
        classes: Scores per class.
        confusion: Images by reference class (rows) and predicted class (columns), (K, K).
    """

    accuracy: float | None
    mean_class_accuracy: float | None
    harmonic_mean: float | None
    geometric_mean: float | None
    macro_f1: float | None
    worst_class: str | None
    worst_accuracy: float | None
    calibration_error: float | None
    groups: Mapping[str, float | None]
    classes: tuple[ClassAccuracy, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def images(self) -> int:
        """Number of compared images."""
        return sum(map(sum, self.confusion))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; classes by name."""
        values = asdict(self)
        values["images"] = self.images
        values["classes"] = {one.pop("name"): one for one in values["classes"]}
        values["confusion"] = [list(row) for row in self.confusion]
        return values

    def view(self) -> View:
        """Return the scores, overall and of each class."""
        return scores_view(self.as_dict())


class ClassificationMetrics(ConfusionMetrics):
    """Accumulates the scores of images; moves between devices and processes as a module does.

    Args:
        class_names: Names of the classes in the order of their indices, K.
        groups: Class indices by the name of a group, as of ``groups_by_count``.
        bins: Bins of the calibration error.

    Raises:
        ValueError: A group names an index that is no class.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        groups: Mapping[str, Sequence[int]] | None = None,
        *,
        bins: int = 15,
    ) -> None:
        super().__init__(class_names)
        from rsmeta.metrics.calibration import CalibrationError  # slow to import

        self.groups = {name: tuple(map(int, members)) for name, members in (groups or {}).items()}
        for name, members in self.groups.items():
            beyond = [i for i in members if not 0 <= i < len(self.class_names)]
            if beyond:
                last = len(self.class_names) - 1
                raise ValueError(f"group {name!r} names class {beyond[0]}, beyond 0 to {last}")
        self.calibration = CalibrationError(bins)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add images.

        Args:
            logits: Scores (B, K) of any float type.
            target: Class indices (B,) int64; -1: no label.

        Raises:
            ValueError: The shapes do not fit, or an index is no class.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.class_names):
            raise ValueError(
                f"scores {tuple(logits.shape)} are not (images, {len(self.class_names)} classes)"
            )
        logits, target = (t.detach().to(self.confusion.device) for t in (logits, target))
        confidence, predicted = logits.float().softmax(dim=1).max(dim=1)
        self.count(predicted, target)
        known = target != IGNORED
        self.calibration.update(confidence[known], (predicted == target)[known])

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.calibration.reset()

    def compute(self) -> ClassificationResult:
        """Return the scores of all images so far, over all processes."""
        error = float(computed(self.calibration))
        return classification_scores(
            self.matrix(), self.class_names, self.groups,
            calibration_error=None if math.isnan(error) else error,
        )  # fmt: skip


def groups_by_count(
    class_counts: Sequence[int] | NDArray[np.integer[Any]], *, many: int = 100, few: int = 20
) -> dict[str, tuple[int, ...]]:
    """Return the classes with many, medium and few training images.

    Args:
        class_counts: Training images of each class, (K,).
        many: More than this are many.
        few: Less than this are few.

    Source: Liu et al. 2019 (OLTR).
    """
    counts = [int(count) for count in class_counts]
    name_of = ["many" if n > many else "few" if n < few else "medium" for n in counts]
    return {
        group: tuple(i for i, name in enumerate(name_of) if name == group)
        for group in ("many", "medium", "few")
    }


def classification_scores(
    confusion: Confusion,
    class_names: Sequence[str],
    groups: Mapping[str, Sequence[int]],
    *,
    calibration_error: float | None = None,
) -> ClassificationResult:
    """Return all scores of a confusion matrix.

    Args:
        confusion: Images by reference class (rows) and predicted class (columns), (K, K).
        class_names: Names of the K classes.
        groups: Class indices by the name of a group.
        calibration_error: Goes into the result; a confusion matrix does not know it.
    """
    classes = tuple(
        _class_accuracy(name, int(hit), int(images), int(taken))
        for name, hit, images, taken in zip(
            class_names, np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0),
            strict=True,
        )
    )  # fmt: skip
    known = [one.accuracy for one in classes if one.accuracy is not None]
    worst = min((one for one in classes if one.images), key=_accuracy, default=None)
    return ClassificationResult(
        accuracy=accuracy(confusion),
        mean_class_accuracy=mean_of_known(known),
        harmonic_mean=harmonic_mean(known) if known else None,
        geometric_mean=_geometric_mean(known) if known else None,
        macro_f1=mean_of_known(one.f1 for one in classes),
        worst_class=worst.name if worst else None,
        worst_accuracy=worst.accuracy if worst else None,
        calibration_error=calibration_error,
        groups={
            name: mean_of_known(classes[i].accuracy for i in members)
            for name, members in groups.items()
        },
        classes=classes,
        confusion=as_rows(confusion),
    )


def _class_accuracy(name: str, hit: int, images: int, taken: int) -> ClassAccuracy:
    if not images:
        return ClassAccuracy(name, None, None, None, 0)
    return ClassAccuracy(
        name=name,
        accuracy=hit / images,
        f1=2 * hit / (images + taken),
        precision=hit / taken if taken else 0.0,
        images=images,
    )


def _accuracy(one: ClassAccuracy) -> float:
    return one.accuracy or 0.0


def _geometric_mean(shares: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, shares))) if all(shares) else 0.0
