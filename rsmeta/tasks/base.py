"""What a task is: what it reads, minimises and counts, and what its scores mean.

Everything heavy is imported where it is used: predicting needs a task's ``activate`` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from rsmeta.config import Settings
    from rsmeta.config.settings import TaskName
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.losses import Loss
    from rsmeta.registry import Registry


@dataclass(frozen=True)
class Task(ABC):
    """What is learned: the one place that tells segmentation from classification or regression.

    Attributes:
        per_pixel: Whether every pixel has a label, not every image.
    """

    per_pixel: bool

    #: Its name in settings and bundles.
    name: ClassVar[TaskName]

    #: Scores that are logged, as attributes of what the metrics compute; the first decides which
    #: weights are kept.
    scores: ClassVar[tuple[str, ...]]

    #: Whether less of the first score is better.
    less_is_better: ClassVar[bool] = False

    @property
    def target(self) -> str:
        """Key of a batch under which its labels are."""
        return "mask" if self.per_pixel else "label"

    @property
    def monitor(self) -> str:
        """Name under which the deciding score is logged."""
        return f"validation/{self.scores[0]}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of history.csv that validation fills."""
        return ("validation_loss", *(f"validation_{score}" for score in self.scores))

    def data(self, settings: Settings, **how: Any) -> SceneDataModule:
        """Return what reads the data of a configuration.

        Args:
            settings: The configuration.
            how: ``bands`` to read, by name, and ``meta``, which may hold out a part for scales.

        Raises:
            RsmetaError: The data cannot be used.
        """
        from rsmeta.data.datamodule import SceneDataModule

        return SceneDataModule(settings.data, seed=settings.seed, **how)

    @property
    @abstractmethod
    def losses(self) -> Registry[type[Loss]]:
        """Losses that suit it, by name."""

    @abstractmethod
    def loss_statistics(self, data: SceneDataModule) -> Any:
        """Return what its losses take of the training labels."""

    @abstractmethod
    def metrics(self, data: SceneDataModule, counts: Mapping[str, int] | None = None) -> nn.Module:
        """Return what gathers its scores.

        Args:
            data: Says what labels mean.
            counts: Training labels per class, where the model was trained on others than ``data``.
        """

    @abstractmethod
    def count(self, metrics: Any, logits: Tensor, target: Tensor) -> None:
        """Add a batch of logits (B, K, …) and its labels to the metrics."""

    @abstractmethod
    def activate(self, logits: Tensor) -> Tensor:
        """Return what logits (B, K, …) mean: probabilities, or numbers, of the same shape."""

    @abstractmethod
    def labelled(self, target: Tensor) -> int:
        """Return how many pixels or images of a batch have a label."""

    def label_table(self, data: SceneDataModule) -> dict[str, Any]:
        """Return what metrics.json says of the training labels: those of each class by name."""
        counts = {
            spec.name: int(count)
            for spec, count in zip(data.settings.classes, data.class_counts, strict=True)
        }
        return {"class_counts": counts}

    def outputs(self, settings: Settings) -> int:
        """Return the number of scores K per pixel or image."""
        return len(settings.data.classes)

    def target_scale(self, data: SceneDataModule) -> tuple[float, float] | None:
        """Return mean and deviation of the training labels; none where they are classes."""
        return None
