"""Logistic regression on the features of a pixel."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsmeta.heads.base import HEADS, HeadInput
from rsmeta.heads.solved import SolvedHead, SolvedOptions, last_layer, standardisation

if TYPE_CHECKING:
    from rsmeta.config.base import Strict

logger = logging.getLogger(__name__)

#: Strengths that ``auto`` chooses from: inverse of the penalty, as scikit-learn's ``C``.
_STRENGTHS = tuple(10.0**power for power in range(-4, 3))
_FOLDS = 4
_MOST_STEPS = 2000


class LogisticOptions(SolvedOptions):
    """Options of the logistic regression."""

    strength: float | Literal["auto"] = Field(
        default="auto",
        description="inverse of the L2 penalty on standardised features; auto: by grouped "
        "cross-validation",
    )


@HEADS.register("logistic")
class LogisticHead(SolvedHead):
    """Multinomial logistic regression on standardised features, classes balanced.

    Args:
        shape: What stands before the head.
        classes: Number of classes K.
        options: Its strength.
    """

    Options: ClassVar[type[Strict]] = LogisticOptions

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, shape: HeadInput, classes: int, options: LogisticOptions) -> None:
        super().__init__(shape, classes, options)
        self._strength = options.strength
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("std", torch.ones(self.dim))
        self.register_buffer("weight", torch.zeros(classes, self.dim))
        self.register_buffer("bias", torch.zeros(classes))

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the softmax of the weighted features."""
        scaled = (features.float() - self.mean) / self.std
        return torch.addmm(self.bias, scaled, self.weight.T).softmax(dim=1)

    def solve(
        self, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
    ) -> None:
        """Fit the weights; the strength by cross-validation that keeps groups together."""
        mean, std = standardisation(features)
        scaled = (features - mean) / std
        strength = self._strength
        if strength == "auto":
            strength = _best_strength(scaled, labels, groups)
            logger.info("logistic regression: strength %g by cross-validation", strength)
        probe = _fitted(scaled, labels, strength)
        if probe.n_iter_.max() >= _MOST_STEPS:
            logger.warning("the regression had not converged after %d steps", _MOST_STEPS)
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))
        weight, bias = last_layer(probe.coef_, probe.intercept_, probe.classes_, self.classes)
        self.weight.copy_(weight)
        self.bias.copy_(bias)


def _best_strength(scaled: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """Return the strength with the least balanced log loss on groups that were left out."""
    from sklearn.metrics import log_loss
    from sklearn.model_selection import GroupKFold
    from sklearn.utils.class_weight import compute_sample_weight

    folds = min(_FOLDS, len(np.unique(groups)))
    if folds < 2:
        return 1.0
    classes = np.unique(labels)
    losses = np.zeros(len(_STRENGTHS))
    for fit, judge in GroupKFold(folds).split(scaled, labels, groups):
        if len(np.unique(labels[fit])) < 2:
            continue
        weights = compute_sample_weight("balanced", labels[judge])
        for i, strength in enumerate(_STRENGTHS):
            probe = _fitted(scaled[fit], labels[fit], strength)
            shares = np.full((len(judge), len(classes)), 1e-6)
            shares[:, np.searchsorted(classes, probe.classes_)] += probe.predict_proba(
                scaled[judge]
            )
            shares /= shares.sum(axis=1, keepdims=True)
            losses[i] += log_loss(labels[judge], shares, sample_weight=weights, labels=classes)
    return _STRENGTHS[int(losses.argmin())]


def _fitted(scaled: np.ndarray, labels: np.ndarray, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression  # takes its time

    probe = LogisticRegression(C=strength, max_iter=_MOST_STEPS, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(scaled, labels)
