"""Tasks whose labels are classes: one per pixel, one per image, or any number per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsmeta.tasks.base import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from torch import Tensor, nn

    from rsmeta.losses import Loss
    from rsmeta.registry import Registry
    from rsmeta.tasks.base import TrainingData

#: Probabilities below this count as this, so that their logarithm is finite.
_LEAST_PROBABILITY = 1e-12


class OfClasses(Task):
    """A task that chooses one of several classes."""

    @property
    def losses(self) -> Registry[type[Loss]]:
        """Losses of classes."""
        from rsmeta.losses import LOSSES

        return LOSSES

    def loss_statistics(self, data: TrainingData) -> np.ndarray:
        """Return the training labels of each class, (K,)."""
        return data.class_counts

    def activate(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes."""
        return logits.float().softmax(dim=1)

    def logits(self, meant: Tensor) -> Tensor:
        """Return the logarithms of probabilities: losses of classes ignore a common constant."""
        return meant.clamp_min(_LEAST_PROBABILITY).log()

    def labelled(self, target: Tensor) -> int:
        """Return how many pixels or images have a class."""
        return int((target >= 0).sum())


class Segmentation(OfClasses):
    """A class for every pixel."""

    name = "segmentation"
    scores = ("miou", "accuracy", "macro_f1")

    def metrics(self, data: TrainingData, counts: Mapping[str, int] | None = None) -> nn.Module:
        """Return the agreement of maps with labels."""
        from rsmeta.metrics import SegmentationMetrics

        return SegmentationMetrics([spec.name for spec in data.classes])

    def count(self, metrics: Any, logits: Tensor, target: Tensor) -> None:
        """Add pixels."""
        metrics.update(logits.argmax(dim=1), target)


class Classification(OfClasses):
    """One class for every image."""

    name = "classification"
    scores = ("mean_class_accuracy", "accuracy", "macro_f1")

    def metrics(self, data: TrainingData, counts: Mapping[str, int] | None = None) -> nn.Module:
        """Return scores by class and by groups of classes with many, medium, few images."""
        from rsmeta.data.datamodule import SceneDataModule
        from rsmeta.metrics import ClassificationMetrics, groups_by_count

        names = [spec.name for spec in data.classes]
        known = [counts.get(name, 0) for name in names] if counts else data.class_counts.tolist()
        listed = None if isinstance(data, SceneDataModule) else data.groups
        return ClassificationMetrics(names, listed or groups_by_count(known))

    def count(self, metrics: Any, logits: Tensor, target: Tensor) -> None:
        """Add images."""
        metrics.update(logits, target)


class Multilabel(Task):
    """Any number of labels for every image."""

    name = "multilabel"
    scores = ("mean_average_precision", "micro_f1", "macro_f1")

    @property
    def losses(self) -> Registry[type[Loss]]:
        """Losses of sets of labels."""
        from rsmeta.losses import MULTILABEL_LOSSES

        return MULTILABEL_LOSSES

    def loss_statistics(self, data: TrainingData) -> np.ndarray:
        """Return the training images with and without each label, (2, K)."""
        import numpy as np

        images = len(data.parts["train"] or ())
        return np.stack([data.class_counts, images - data.class_counts])

    def metrics(self, data: TrainingData, counts: Mapping[str, int] | None = None) -> nn.Module:
        """Return scores by label."""
        from rsmeta.metrics import MultilabelMetrics

        return MultilabelMetrics([spec.name for spec in data.classes])

    def count(self, metrics: Any, logits: Tensor, target: Tensor) -> None:
        """Add images."""
        metrics.update(logits, target)

    def activate(self, logits: Tensor) -> Tensor:
        """Return the probability of each label."""
        return logits.float().sigmoid()

    def labelled(self, target: Tensor) -> int:
        """Return how many images have a known label."""
        return int((target >= 0).any(dim=1).sum())
