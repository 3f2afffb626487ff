"""A small multilayer perceptron on the features of a pixel."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsmeta.heads.base import HEADS, HeadInput
from rsmeta.heads.solved import SolvedHead, SolvedOptions, last_layer, standardisation

if TYPE_CHECKING:
    from rsmeta.config.base import Strict

_MOST_EPOCHS = 500
_RATE = 5e-3

#: Pixels seen in all epochs together, so that many labels take no longer than few.
_MOST_SEEN = 2_000_000


class MlpOptions(SolvedOptions):
    """Options of the perceptron."""

    width: int = Field(default=64, ge=1, description="units of its hidden layer")
    penalty: float = Field(default=1e-2, ge=0, description="L2 penalty of its weights")


@HEADS.register("mlp")
class MlpHead(SolvedHead):
    """One hidden layer of rectified units on standardised features, trained by scikit-learn.

    Args:
        shape: What stands before the head.
        classes: Number of classes K.
        options: Width and penalty.
    """

    Options: ClassVar[type[Strict]] = MlpOptions

    mean: Tensor
    std: Tensor
    hidden_weight: Tensor
    hidden_bias: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, shape: HeadInput, classes: int, options: MlpOptions) -> None:
        super().__init__(shape, classes, options)
        self._options = options
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("std", torch.ones(self.dim))
        self.register_buffer("hidden_weight", torch.zeros(options.width, self.dim))
        self.register_buffer("hidden_bias", torch.zeros(options.width))
        self.register_buffer("weight", torch.zeros(classes, options.width))
        self.register_buffer("bias", torch.zeros(classes))

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the softmax of the output units."""
        scaled = (features.float() - self.mean) / self.std
        hidden = torch.addmm(self.hidden_bias, scaled, self.hidden_weight.T).relu()
        return torch.addmm(self.bias, hidden, self.weight.T).softmax(dim=1)

    def solve(
        self, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
    ) -> str | None:
        """Train the units; every class counts alike, groups do not matter."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.utils.class_weight import compute_sample_weight

        mean, std = standardisation(features)
        epochs = int(np.clip(_MOST_SEEN / len(features), 10, _MOST_EPOCHS))
        units = MLPClassifier(
            (self._options.width,), alpha=self._options.penalty, max_iter=epochs,
            learning_rate_init=_RATE, random_state=seed,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            units.fit(
                (features - mean) / std, labels,
                sample_weight=compute_sample_weight("balanced", labels),
            )  # fmt: skip
        note = None
        if units.n_iter_ >= epochs:
            note = f"the perceptron had not converged after {epochs} epochs"
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))
        (hidden, out), (hidden_bias, out_bias) = units.coefs_, units.intercepts_
        self.hidden_weight.copy_(torch.from_numpy(hidden.T))
        self.hidden_bias.copy_(torch.from_numpy(hidden_bias))
        weight, bias = last_layer(out.T, out_bias, units.classes_, self.classes)
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        return note
