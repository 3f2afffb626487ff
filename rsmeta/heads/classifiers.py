"""Heads for one vector per image: from features (B, D) to one score per class.

They have a registry of their own: the same name (``linear``) means another module where a head
must score every pixel, and which of the two is wanted follows from the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.config.load import validate
from rsmeta.heads.directions import random_directions
from rsmeta.registry import Registry

if TYPE_CHECKING:
    from rsmeta.config.model import HeadSpec


#: Keeps constant vectors finite, and is too small to be seen in any other.
_EPSILON = 1e-12


class Classifier(nn.Module, ABC):
    """Scores a vector by one weight vector per class, random at first.

    Subclasses name their settings in ``Options`` and are registered in ``CLASSIFIERS``.

    Args:
        dim: Length D of the vectors.
        classes: Number of classes K.
        options: Its own settings.
    """

    Options: ClassVar[type[Strict]]

    def __init__(self, dim: int, classes: int, options: Strict) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_directions(classes, dim))

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""

    def point(self, directions: Tensor) -> None:
        """Take one direction per class, as the functions of ``rsmeta.heads.directions`` give them.

        Args:
            directions: Vectors (K, D).

        Raises:
            ValueError: The shape does not fit.
        """
        if directions.shape != self.weight.shape:
            raise ValueError(
                f"directions {tuple(directions.shape)} for weights {tuple(self.weight.shape)}"
            )
        with torch.no_grad():
            self.weight.copy_(directions)


#: Classifiers by name.
CLASSIFIERS: Registry[type[Classifier]] = Registry("classifier")


def build_classifier(spec: HeadSpec, dim: int, classes: int) -> Classifier:
    """Build a classifier from settings.

    Args:
        spec: Name and options.
        dim: Length D of the vectors.
        classes: Number of classes K.

    Raises:
        UnknownNameError: No classifier of that name.
        ConfigError: An option that it does not take, or a value that does not fit.
    """
    kind = CLASSIFIERS.get(spec.name)
    options = validate(kind.Options, spec.options, f"model.head ({spec.name})")
    return kind(dim, classes, options)


class NoOptions(Strict):
    """Settings of a classifier that has none."""


class CosineOptions(Strict):
    """Settings of the cosine classifier."""

    scale: float = Field(
        default=25.0, gt=0, description="factor of the cosines: how sharp probabilities can be"
    )


@CLASSIFIERS.register("linear")
class LinearClassifier(Classifier):
    """Dot product of vector and weight, plus a bias that starts at 0.

    Args:
        dim: Length D of the vectors.
        classes: Number of classes K.
        options: None to choose.
    """

    Options = NoOptions

    def __init__(self, dim: int, classes: int, options: Strict) -> None:
        super().__init__(dim, classes, options)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        return functional.linear(features, self.weight, self.bias)


@CLASSIFIERS.register("cosine")
class CosineClassifier(Classifier):
    """Cosine between vector and weight, times a scale: neither's length plays a part.

    Args:
        dim: Length D of the vectors.
        classes: Number of classes K.
        options: ``CosineOptions``.

    Source: Gidaris & Komodakis 2018.
    """

    Options = CosineOptions

    def __init__(self, dim: int, classes: int, options: Strict) -> None:
        super().__init__(dim, classes, options)
        self.scale = cast("CosineOptions", options).scale

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        return self.scale * functional.linear(_unit(features), _unit(self.weight))


@CLASSIFIERS.register("l2_normalised")
class L2NormalisedClassifier(Classifier):
    """Dot product of the vector and the weight at length 1: all classes weigh alike.

    Args:
        dim: Length D of the vectors.
        classes: Number of classes K.
        options: None to choose.
    """

    Options = NoOptions

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        return functional.linear(features, _unit(self.weight))


@CLASSIFIERS.register("layer_normalised")
class LayerNormalisedClassifier(Classifier):
    """Dot product of the standardised vector and the weight at length 1.

    Args:
        dim: Length D of the vectors.
        classes: Number of classes K.
        options: None to choose.
    """

    Options = NoOptions

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        standardised = functional.layer_norm(features, features.shape[-1:], eps=_EPSILON)
        return functional.linear(standardised, _unit(self.weight))


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors (N, D) at length 1; lengths are taken in float32."""
    return functional.normalize(vectors.float(), dim=-1).to(vectors.dtype)
