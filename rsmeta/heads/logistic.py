"""Linear classifiers of the features of a pixel: logistic regression, discriminant analysis."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsmeta.heads.base import HEADS, HeadInput
from rsmeta.heads.regression import MOST_STEPS, USUAL_STRENGTH, best_strength, fit_regression
from rsmeta.heads.solved import (
    LEAST_PROBABILITY,
    SolvedHead,
    SolvedOptions,
    last_layer,
    standardisation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config.base import Strict

logger = logging.getLogger(__name__)


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

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return logarithms of probabilities, (B, K, H, W)."""
        (scores,) = linear_scores([self], [[self.features(maps, image).float()]])
        return scores

    def solve(
        self, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
    ) -> str | None:
        """Fit the weights; the strength by cross-validation that keeps groups together."""
        mean, std = standardisation(features)
        scaled = (features - mean) / std
        strength = self._strength
        if strength == "auto":
            strength = best_strength(scaled, labels, groups, seed=seed)
            logger.info("logistic regression: strength %g by cross-validation", strength)
        return self._take(fit_regression(scaled, labels, strength), mean, std)

    def _take(self, probe: Any, mean: np.ndarray, std: np.ndarray) -> str | None:
        """Keep the weights of a linear classifier; return what to warn of."""
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))
        weight, bias = last_layer(probe.coef_, probe.intercept_, probe.classes_, self.classes)
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        slow = np.max(getattr(probe, "n_iter_", 0)) >= MOST_STEPS
        return f"the regression had not converged after {MOST_STEPS} steps" if slow else None


def linear_scores(
    heads: Sequence[LogisticHead], features: Sequence[Sequence[Tensor]]
) -> list[Tensor]:
    """Return logarithms of probabilities of several heads, each (B, K, H, W).

    What heads have in common meets the weights of all of them at once.

    Args:
        heads: Of the same classes.
        features: Of each head, in parts (B, d, H, W) float32; shared are those that are the same
            tensor.
    """
    shared: dict[int, tuple[Tensor, Tensor, list[tuple[int, slice]]]] = {}
    scores = [head.bias.double() for head in heads]
    for number, (head, parts) in enumerate(zip(heads, features, strict=True)):
        start = 0
        for part in parts:
            own = slice(start, start + part.shape[1])
            # numbers far from 0 are centred before they are weighted
            _, centre, users = shared.setdefault(id(part), (part, head.mean[own], []))
            weight, apart = (head.weight / head.std)[:, own].double(), centre - head.mean[own]
            scores[number] = scores[number] + weight @ apart.double()
            users.append((number, own))
            start = own.stop
    found: list[Tensor] = [one.float()[:, None] for one in scores]
    for part, centre, users in shared.values():
        weights = torch.cat([(heads[i].weight / heads[i].std)[:, own] for i, own in users])
        weighted = torch.matmul(weights, part.flatten(2) - centre[:, None])
        for (number, _), one in zip(users, weighted.chunk(len(users), dim=1), strict=True):
            found[number] = found[number] + one
    size = features[0][0].shape[2:]
    least = math.log(LEAST_PROBABILITY)
    logs = [one.log_softmax(dim=1).clamp_min(least) for one in found]
    return [one.reshape(*one.shape[:2], *size) for one in logs]


def logistic_weights(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, classes: int
) -> tuple[Tensor, Tensor]:
    """Return the weights (K, F) and intercepts (K,) of a regression on features as they are.

    Args:
        features: (N, F) float32, finite.
        labels: Class indices (N,), of two classes at least.
        groups: What belongs together (N,), as in ``SolvedHead.solve``.
        classes: Number of classes K.
    """
    shape = HeadInput(dims=features.shape[1:], strides_px=(1,), levels=(0,), channels=0)
    head = LogisticHead(shape, classes, LogisticOptions())
    if (warning := head.solve(features, labels, groups, seed=0)) is not None:
        logger.warning("%s", warning)
    weight = head.weight.double() / head.std.double()
    bias = head.bias.double() - weight @ head.mean.double()
    return weight.float(), bias.float()


@HEADS.register("lda")
class LdaHead(LogisticHead):
    """Linear discriminant analysis with a shrunk covariance, classes balanced.

    Args:
        shape: What stands before the head.
        classes: Number of classes K.
        options: Depths and bands.

    Source: Ledoit and Wolf 2004, A well-conditioned estimator for large covariance matrices.
    """

    Options: ClassVar[type[Strict]] = SolvedOptions

    def __init__(self, shape: HeadInput, classes: int, options: SolvedOptions) -> None:
        given = options.model_dump()
        super().__init__(shape, classes, LogisticOptions(strength=USUAL_STRENGTH, **given))

    def solve(
        self, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
    ) -> str | None:
        """Estimate means and covariance; groups do not matter to them."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # takes its time

        mean, std = standardisation(features)
        scaled, count = (features - mean) / std, len(np.unique(labels))
        if len(features) <= count:  # single pixels have no covariance: each feature varies alone
            spread = np.eye(scaled.shape[1]) / 2
            scaled = np.concatenate([scaled[:, None] + spread, scaled[:, None] - spread], axis=1)
            labels = np.repeat(labels, scaled.shape[1])
            scaled = scaled.reshape(-1, scaled.shape[2])
        analysis = LinearDiscriminantAnalysis(
            solver="lsqr", shrinkage="auto", priors=np.full(count, 1 / count)
        )
        return self._take(analysis.fit(scaled, labels), mean, std)
