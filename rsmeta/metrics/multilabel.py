"""Scores of images with any number of labels each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rsmeta.metrics.confusion import computed, mean_of_known
from rsmeta.shown import Shown, View, scores_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


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


@dataclass(frozen=True, repr=False)
class MultilabelResult(Shown):
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
        values = asdict(self)
        values["labels"] = {one.pop("name"): one for one in values["labels"]}
        return values

    def view(self) -> View:
        """Return the scores, overall and of each class."""
        return scores_view(self.as_dict())


class MultilabelMetrics(nn.Module):
    """Keeps the probabilities of images; moves between devices and processes as a module does.

    Args:
        label_names: Names of the labels in the order of the scores, K.
        threshold: Probability above which a label counts as found.
    """

    def __init__(self, label_names: Sequence[str], threshold: float = 0.5) -> None:
        super().__init__()
        from torchmetrics import CatMetric  # slow to import

        self.label_names = tuple(label_names)
        self.threshold = threshold
        self.shares, self.target = CatMetric(), CatMetric()

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
        self.shares.update(logits.detach().float().sigmoid())
        self.target.update(target)

    def reset(self) -> None:
        """Forget everything."""
        self.shares.reset()
        self.target.reset()

    def compute(self) -> MultilabelResult:
        """Return the scores of all images so far, over all processes."""
        count = len(self.label_names)
        # a metric without images gives an empty list
        shares, target = (
            torch.as_tensor(computed(kept)).view(-1, count) for kept in (self.shares, self.target)
        )
        found = shares > self.threshold
        hits = (found & (target == 1)).sum(dim=0).tolist()
        false = (found & (target == 0)).sum(dim=0).tolist()
        missed = (~found & (target == 1)).sum(dim=0).tolist()
        labels = tuple(
            _label_scores(name, shares[:, k], target[:, k], _f1(hits[k], false[k], missed[k]))
            for k, name in enumerate(self.label_names)
        )
        return MultilabelResult(
            mean_average_precision=mean_of_known(one.average_precision for one in labels),
            micro_f1=_f1(sum(hits), sum(false), sum(missed)),
            macro_f1=mean_of_known(one.f1 for one in labels),
            labels=labels,
        )


def _label_scores(name: str, shares: Tensor, target: Tensor, f1: float | None) -> LabelScores:
    from torchmetrics.functional.classification import binary_average_precision

    images = int((target == 1).sum())
    if not images:
        return LabelScores(name, None, None, 0)
    known = target >= 0
    area = binary_average_precision(shares[known], target[known].long(), validate_args=False)
    return LabelScores(name, float(area), f1, images)


def _f1(hits: int, false: int, missed: int) -> float | None:
    return 2 * hits / (2 * hits + false + missed) if hits + false + missed else None
