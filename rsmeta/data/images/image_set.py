"""What a part of image data is: images that can be read by number, with their labels."""

from __future__ import annotations

import abc
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

if TYPE_CHECKING:
    import numpy as np

    from rsmeta.config.meta import MetaSettings
    from rsmeta.data.splits import Part
    from rsmeta.geo.bands import Band

#: What a label is: one class, several classes, or a number.
ImageTask = Literal["classification", "multilabel", "regression"]


class Pixels(NamedTuple):
    """An image as it was read.

    Attributes:
        data: Physical values, (C, H, W) float32; 0 where there are none.
        valid: Which pixels hold data, (H, W) bool.
    """

    data: np.ndarray
    valid: np.ndarray


class ImageSet(abc.ABC):
    """Images of one part.

    Args:
        labels: Class numbers (N,) int64, several classes (N, K) float32 of 0 and 1, or numbers
            (N,) float32.
        origins: Number of the picture or place that each image comes from, (N,) int64; images of
            one origin never part. None: each is its own.

    Attributes:
        in_memory: Whether nothing has to be decoded to read an image again.
    """

    in_memory: ClassVar[bool] = False

    def __init__(self, labels: np.ndarray, origins: np.ndarray | None = None) -> None:
        self.labels = labels
        self.origins = origins

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abc.abstractmethod
    def bands(self) -> tuple[Band, ...]:
        """Bands of every image, in the order of ``read``."""

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Return where an image comes from, for people."""

    @abc.abstractmethod
    def read(self, index: int) -> Pixels:
        """Read an image.

        Raises:
            RsmetaError: It cannot be read.
        """

    def gsd_m(self, index: int) -> float | None:
        """Return the size of an image's pixels in metres, if it is known."""
        return None

    def take(self, indices: np.ndarray) -> Self:
        """Return the set of some of the images, in that order."""
        taken = copy(self)
        taken.labels = self.labels[indices]
        taken.origins = None if self.origins is None else self.origins[indices]
        taken._keep(indices)  # noqa: SLF001 its own kind
        return taken

    @abc.abstractmethod
    def _keep(self, indices: np.ndarray) -> None:
        """Keep some of what belongs to the images, in that order."""


@dataclass(frozen=True)
class Found:
    """What a kind of image data found.

    Attributes:
        classes: Class names in the order of their numbers; empty for regression.
        sets: The images of each part that has images of its own.
        shares: Share of the training images that another part takes.
        held_out: Images by which only the scales of the adapters are judged, where the kind of
            data divides them itself.
    """

    classes: tuple[str, ...]
    sets: dict[Part, ImageSet]
    shares: dict[Part, float] = field(default_factory=dict)
    held_out: ImageSet | None = None


@dataclass(frozen=True)
class Wanted:
    """What a run needs of its images.

    Attributes:
        task: What a label is.
        seed: Seed of divisions and subsets.
        bands: Bands to read; none: those of the settings or of the first image.
        meta: May hold out training images for the scales of the adapters.
        to_train: Every class must have training images.
    """

    task: ImageTask = "classification"
    seed: int = 0
    bands: tuple[Band, ...] | None = None
    meta: MetaSettings | None = None
    to_train: bool = True
