"""Heads of images: from one vector per image (B, D) to one score per class."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.heads.base import CLASSIFIERS, Classifier

if TYPE_CHECKING:
    from rsmeta.heads.base import HeadInput


#: Keeps constant vectors finite, and is too small to be seen in any other.
_EPSILON = 1e-12


class CosineOptions(Strict):
    """Settings of the cosine classifier."""

    scale: float = Field(
        default=25.0, gt=0, description="factor of the cosines: how sharp probabilities can be"
    )


@CLASSIFIERS.register("linear")
class LinearClassifier(Classifier):
    """Dot product of vector and weight, plus a bias that starts at 0.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: None to choose.
    """

    def __init__(self, shape: HeadInput, classes: int, options: Strict) -> None:
        super().__init__(shape, classes, options)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        return functional.linear(features, self.weight, self.bias)

    def set_weights(self, weights: Tensor, bias: Tensor | None = None) -> None:
        """Start from one vector per class, (K, D), and intercepts (K,); none: as they are."""
        super().set_weights(weights)
        if bias is not None:
            with torch.no_grad():
                self.bias.copy_(bias)


@CLASSIFIERS.register("cosine")
class CosineClassifier(Classifier):
    """Cosine between vector and weight, times a scale: neither's length plays a part.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: ``CosineOptions``.

    Source: Gidaris & Komodakis 2018.
    """

    Options = CosineOptions

    def __init__(self, shape: HeadInput, classes: int, options: Strict) -> None:
        super().__init__(shape, classes, options)
        self.scale = cast("CosineOptions", options).scale

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        return self.scale * functional.linear(_unit(features), _unit(self.weight))


@CLASSIFIERS.register("l2_normalised")
class L2NormalisedClassifier(Classifier):
    """Dot product of the vector and the weight at length 1: all classes weigh alike.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: None to choose.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        return functional.linear(features, _unit(self.weight))


@CLASSIFIERS.register("layer_normalised")
class LayerNormalisedClassifier(Classifier):
    """Dot product of the standardised vector and the weight at length 1.

    Args:
        shape: Features that the head takes.
        classes: Number of classes K.
        options: None to choose.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of vectors (B, D)."""
        standardised = functional.layer_norm(features, features.shape[-1:], eps=_EPSILON)
        return functional.linear(standardised, _unit(self.weight))


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors (N, D) at length 1; lengths are taken in float32."""
    return functional.normalize(vectors.float(), dim=-1).to(vectors.dtype)
