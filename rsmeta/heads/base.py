"""What every head is, of pixels or of images, and how one is built from settings.

Heads of images have a registry of their own: the same name (``linear``) means another module
where a head must score every pixel, and which of the two is meant follows from the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from rsmeta.config.base import NoOptions
from rsmeta.config.load import validate
from rsmeta.heads.classifier_init import random_weights
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.base import Strict
    from rsmeta.config.model import HeadSpec


@dataclass(frozen=True)
class HeadInput:
    """What a head needs to know of the features it takes.

    Args:
        dims: Width D of the feature map after each block.
        strides_px: Pixels of the image per pixel of the feature map after each block.
        levels: Indices of four blocks whose maps suit a pyramid.
        channels: Bands C of the prepared image.
    """

    dims: tuple[int, ...]
    strides_px: tuple[int, ...]
    levels: tuple[int, ...]
    channels: int

    @property
    def depth(self) -> int:
        """Number of blocks that features can be taken from."""
        return len(self.dims)

    @property
    def dim(self) -> int:
        """Width D of the last map, and of the one vector of an image."""
        return self.dims[-1]


class Head(nn.Module, ABC):
    """Turns features into logits; its subclasses name their settings in ``Options``.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: Its own settings.
    """

    Options: ClassVar[type[Strict]] = NoOptions

    def __init__(self, shape: HeadInput, classes: int, options: Strict) -> None:
        super().__init__()


class PixelHead(Head):
    """A head that scores every pixel; registered in ``HEADS``."""

    @property
    @abstractmethod
    def depths(self) -> tuple[int, ...]:
        """Indices of the blocks, from 0, whose feature maps the head needs."""

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return logits (B, K, H, W).

        Args:
            maps: One map (B, D, H / stride, W / stride) per entry of ``depths``.
            image: The prepared image (B, C, H, W), sides multiples of the coarsest stride.
        """


class LinearPixelHead(PixelHead):
    """A head of pixels that is one linear map of features, so that it can start from a solution."""

    @abstractmethod
    def features(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return what the map takes of every pixel, (B, F, H, W); arguments as of ``forward``."""

    @abstractmethod
    def set_weights(self, weight: Tensor, bias: Tensor) -> None:
        """Start from weights (K, F) and intercepts (K,)."""


class Classifier(Head):
    """A head that scores an image by one weight vector per class; registered in ``CLASSIFIERS``.

    The weights are random at first.
    """

    def __init__(self, shape: HeadInput, classes: int, options: Strict) -> None:
        super().__init__(shape, classes, options)
        self.weight = nn.Parameter(random_weights(classes, shape.dim))

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of one vector per image, (B, D)."""

    def set_weights(self, weights: Tensor) -> None:
        """Start from one vector per class, as ``rsmeta.heads.classifier_init`` gives them.

        Args:
            weights: Vectors (K, D).

        Raises:
            ValueError: The shape does not fit.
        """
        if weights.shape != self.weight.shape:
            raise ValueError(
                f"weights have shape {tuple(weights.shape)}, not {tuple(self.weight.shape)}"
            )
        with torch.no_grad():
            self.weight.copy_(weights)


#: Heads of pixels by name.
HEADS: Registry[type[PixelHead]] = Registry("head", PixelHead)

#: Heads of images by name.
CLASSIFIERS: Registry[type[Classifier]] = Registry("classifier", Classifier)

AnyHead = TypeVar("AnyHead", bound=Head)


def build_head(
    spec: HeadSpec, shape: HeadInput, *, classes: int, registry: Registry[type[AnyHead]]
) -> AnyHead:
    """Build a head from settings.

    Args:
        spec: Name and options.
        shape: Features that the head takes.
        classes: Number of classes K.
        registry: ``HEADS`` or ``CLASSIFIERS``.

    Raises:
        UnknownNameError: It has no head of that name.
        ConfigError: An option that it does not take, or a value that does not fit.
    """
    kind = registry.get(spec.name)
    options = validate(kind.Options, spec.options, f"model.head ({spec.name})")
    return kind(shape, classes, options)
