"""Scores of images with any number of labels each."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from rsmeta.metrics.confusion import computed, mean_of_known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_UNKNOWN = -1


@dataclass(frozen=True)
class LabelScores:
    """Scores of one label, unitless in [0, 1]; none where no compared image has it.

    Args:
        name: Name of the label.
        average_precision: Area under its precision-recall curve.
        f1: Harmonic mean of precision and recall at the threshold.
        images: Images that have it.
    """

    name: str
    average_precision: float | None
    f1: float | None
    images: int


@dataclass(frozen=True)
class MultilabelResult:
    """Scores of images, unitless in [0, 1]; none where there is nothing to score.

    Args:
        mean_average_precision: Mean over the labels that occur (mAP).
        micro_f1: F1 over all labels of all images together; none where none is set or found.
        macro_f1: Mean F1 over the labels that occur.
        labels: Scores per label.
    """

    mean_average_precision: float | None
    micro_f1: float | None
    macro_f1: float | None
    labels: tuple[LabelScores, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; labels by name."""
        told = asdict(self)
        told["labels"] = {one.pop("name"): one for one in told["labels"]}
        return told


class MultilabelMetrics(nn.Module):
    """Accumulates scores; moves between devices and processes as a module does.

    The average precision is exact, so the probabilities of all images are kept.

    Args:
        label_names: Names of the labels in the order of the scores, K.
        threshold: Probability from which a label counts as found.
    """

    def __init__(self, label_names: Sequence[str], threshold: float = 0.5) -> None:
        super().__init__()
        from torchmetrics.classification import (  # slow to import
            MultilabelAveragePrecision,
            MultilabelStatScores,
        )

        self.label_names = tuple(label_names)
        count = len(self.label_names)
        self.precision = MultilabelAveragePrecision(
            count, average=None, ignore_index=_UNKNOWN, validate_args=False
        )
        self.hits = MultilabelStatScores(
            count, threshold, average=None, ignore_index=_UNKNOWN, validate_args=False
        )

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add images.

        Args:
            logits: Scores (B, K) of any float type.
            target: 1 where an image has a label, 0 where not, -1 where nobody knows, (B, K).

        Raises:
            ValueError: The shapes differ.
        """
        if logits.shape != target.shape or logits.shape[1:] != (len(self.label_names),):
            raise ValueError(
                f"scores {tuple(logits.shape)} and labels {tuple(target.shape)} are not both "
                f"(images, {len(self.label_names)} labels)"
            )
        shares = logits.detach().float().sigmoid()
        self.precision.update(shares, target.long())
        self.hits.update(shares, target.long())

    def reset(self) -> None:
        """Forget everything."""
        self.precision.reset()
        self.hits.reset()

    def compute(self) -> MultilabelResult:
        """Return the scores of all images so far, over all processes."""
        hits = computed(self.hits).view(-1, 5).long().tolist()
        areas = self._areas() if any(map(any, hits)) else [math.nan] * len(hits)
        labels = tuple(
            LabelScores(
                name=name,
                average_precision=area if of_label else None,
                f1=_f1(tp, fp, fn) if of_label else None,
                images=of_label,
            )
            for name, area, (tp, fp, _, fn, of_label) in zip(
                self.label_names, areas, hits, strict=True
            )
        )
        tp, fp, _, fn, _ = (sum(column) for column in zip(*hits, strict=True))
        return MultilabelResult(
            mean_average_precision=mean_of_known(one.average_precision for one in labels),
            micro_f1=_f1(tp, fp, fn),
            macro_f1=mean_of_known(one.f1 for one in labels),
            labels=labels,
        )

    def _areas(self) -> list[float]:
        with warnings.catch_warnings():
            # a label that does not occur is reported as none
            warnings.filterwarnings("ignore", message="No positive samples")
            areas: list[float] = self.precision.compute().view(-1).tolist()
        return areas


def _f1(hits: int, false: int, missed: int) -> float | None:
    return 2 * hits / (2 * hits + false + missed) if hits + false + missed else None
