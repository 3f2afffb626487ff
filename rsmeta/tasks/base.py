"""What a task is: what it reads, minimises and counts, and what its scores mean.

Everything heavy is imported where it is used: predicting needs a task's ``activate`` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from rsmeta.config import Settings
    from rsmeta.config.images import ImageSettings
    from rsmeta.config.settings import TaskName
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.data.images import ImageDataModule
    from rsmeta.data.images.image_set import ImageTask
    from rsmeta.losses import Loss
    from rsmeta.registry import Registry

    #: Scenes with a label per pixel, or images with one label each.
    TrainingData: TypeAlias = SceneDataModule | ImageDataModule


@dataclass(frozen=True)
class Task(ABC):
    """What is learned: the one place where segmentation, classification and regression differ.

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

    def data(self, settings: Settings, *, to_train: bool = True, **how: Any) -> TrainingData:
        """Return what reads the data of a configuration.

        Args:
            settings: The configuration.
            to_train: A model is to be trained, not only scored.
            how: ``bands`` to read, by name, and ``meta``, which may hold out a part for scales.

        Raises:
            RsmetaError: The data cannot be used.
        """
        how |= {"seed": settings.seed, "epochs": settings.trainer.max_epochs}
        if self.per_pixel:
            from rsmeta.data.datamodule import SceneDataModule

            return SceneDataModule(settings.scenes, **how)
        from rsmeta.data.images import ImageDataModule

        given = cast("ImageSettings", settings.data)
        kind = cast("ImageTask", self.name)
        return ImageDataModule(given, task=kind, to_train=to_train, **how)

    @property
    @abstractmethod
    def losses(self) -> Registry[type[Loss]]:
        """Losses that suit it, by name."""

    @abstractmethod
    def loss_statistics(self, data: TrainingData) -> Any:
        """Return what its losses take of the training labels."""

    @abstractmethod
    def metrics(self, data: TrainingData, counts: Mapping[str, int] | None = None) -> nn.Module:
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

    def logits(self, meant: Tensor) -> Tensor:
        """Return logits that mean what ``activate`` returned, for the loss of a finished map."""
        return meant

    @abstractmethod
    def labelled(self, target: Tensor) -> int:
        """Return how many pixels or images of a batch have a label."""

    def label_table(self, data: TrainingData) -> dict[str, Any]:
        """Return what metrics.json says of the training labels: those of each class by name."""
        counts = {
            spec.name: int(count)
            for spec, count in zip(data.classes, data.class_counts, strict=True)
        }
        return {"class_counts": counts}

    def outputs(self, data: TrainingData) -> int:
        """Return the number of scores K per pixel or image."""
        return len(data.classes)

    def target_scale(self, data: TrainingData) -> tuple[float, float] | None:
        """Return mean and deviation of the training labels; none where they are classes."""
        return None
