"""Heads whose weights are solved for, from features at labelled pixels, without gradient steps."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsmeta.config.base import Strict
from rsmeta.errors import ConfigError, counted
from rsmeta.heads.base import HeadInput, PixelHead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Probabilities below this count as this, so that their logarithm is finite.
LEAST_PROBABILITY = 1e-12

#: Intercept of a class that no label has.
_NEVER = -1e4


class SolvedOptions(Strict):
    """Options of every head of this kind."""

    depths: tuple[int, ...] | None = Field(
        default=None,
        description="blocks of the backbone, from 0, whose features count; none: four, evenly "
        "spread, ending with the last",
    )
    bands: bool | None = Field(
        default=None,
        description="whether the bands of the pixel itself count too; none: unless the features "
        "are those bands already",
    )


class SolvedHead(PixelHead):
    """Scores pixels by a classifier of scikit-learn, kept as plain tensors.

    Feature maps are laid back on the pixels (bilinearly) and stand beside the bands. Logits are
    logarithms of probabilities.

    Args:
        shape: What stands before the head.
        classes: Number of classes K.
        options: Depths and bands, and the classifier's own.

    Raises:
        ConfigError: A depth that the backbone does not have.
    """

    def __init__(self, shape: HeadInput, classes: int, options: SolvedOptions) -> None:
        super().__init__(shape, classes, options)
        self._depths = options.depths or tuple(dict.fromkeys(shape.levels))
        for depth in self._depths:
            if not 0 <= depth < shape.depth:
                raise ConfigError(
                    f"model.head.depths: {depth} is beyond the backbone's "
                    f"{counted(shape.depth, 'block')}"
                )
        coarse = shape.strides_px[self._depths[-1]] > 1
        self._bands = coarse if options.bands is None else options.bands
        self.classes = classes
        self.dim = sum(shape.dims[depth] for depth in self._depths)
        self.dim += shape.channels if self._bands else 0

    @property
    def depths(self) -> tuple[int, ...]:
        """Indices of the blocks whose features count."""
        return self._depths

    def features(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return what the classifier takes of every pixel, (B, F, H, W).

        Args:
            maps: One map (B, D, h, w) per entry of ``depths``.
            image: The prepared image (B, C, H, W).
        """
        size = image.shape[-2:]
        found = [
            one if one.shape[-2:] == size
            else functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
            for one in maps
        ]  # fmt: skip
        return torch.cat([*found, image.nan_to_num()] if self._bands else found, dim=1)

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return logarithms of probabilities, (B, K, H, W)."""
        found = self.features(maps, image)
        batch, dim, height, width = found.shape
        pixels = found.movedim(1, -1).reshape(-1, dim)
        scores = self.probabilities(pixels).clamp_min(LEAST_PROBABILITY).log()
        return scores.reshape(batch, height, width, -1).movedim(-1, 1)

    @abstractmethod
    def probabilities(self, features: Tensor) -> Tensor:
        """Return probabilities (N, K) float32 of features (N, F)."""

    @abstractmethod
    def solve(
        self, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
    ) -> str | None:
        """Take the weights that fit labelled pixels best.

        Args:
            features: (N, F) float32, finite.
            labels: Class indices (N,), 0 to K - 1; not every class need occur.
            groups: Where each pixel comes from (N,): what is near is alike, so that pixels of one
                group are never judged by others of it.
            seed: Decides what is random.

        Returns:
            What to warn of; none: nothing.
        """

    def fit_shapes(self, state: Mapping[str, Tensor]) -> None:
        """Take the shapes of saved tensors, where they depend on what was solved.

        Args:
            state: Tensors by their names in this head.
        """


def last_layer(
    weight: np.ndarray, bias: np.ndarray, present: np.ndarray, classes: int
) -> tuple[Tensor, Tensor]:
    """Return weights (K, F) and intercepts (K,) of all classes, float32, for a softmax.

    Args:
        weight: One row per class that labels have, (P, F); (1, F) for two classes, whose score
            goes through a sigmoid.
        bias: Intercepts likewise.
        present: Indices of these classes, (P,).
        classes: Number of classes K; those without a label are never chosen.
    """
    if len(present) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    rows = torch.zeros(classes, weight.shape[1])
    intercepts = torch.full((classes,), _NEVER)
    places = torch.from_numpy(present.astype(np.int64))
    rows[places] = torch.from_numpy(weight).float()
    intercepts[places] = torch.from_numpy(bias).float()
    return rows, intercepts


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of features (N, F), each (F,) float64, none of it 0."""
    std = features.std(axis=0, dtype=np.float64)
    return features.mean(axis=0, dtype=np.float64), np.where(std > 0, std, 1.0)
