"""Logistic regression by scikit-learn, on features of which many may say the same."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

USUAL_STRENGTH = 1.0

#: Steps of a fit.
MOST_STEPS = 2000

#: Strengths that are tried: inverse of the penalty, as scikit-learn's ``C``.
_STRENGTHS = tuple(10.0**power for power in range(-4, 3))
_FOLDS = 4

#: Pixels that the strength is chosen on, and steps of a fit that only helps to choose it.
_PATH_PIXELS = 2000
_PATH_STEPS = 200

#: Features from which on their principal axes are worth computing.
_MANY = 64

#: Share of the variance that axes must hold to choose a strength, and to fit.
_MOST_VARIANCE = 0.999
_ALL_VARIANCE = 1 - 1e-6


def fit_regression(scaled: np.ndarray, labels: np.ndarray, strength: float) -> Any:
    """Return a regression on standardised features, classes balanced.

    A penalised fit does not depend on the axes of the features, so that it takes only as many as
    hold numbers of their own: features of a frozen backbone, laid on its pixels, are few.

    Args:
        scaled: Standardised features (N, F).
        labels: Class indices (N,).
        strength: Inverse of the penalty.
    """
    probe = _regression(strength, steps=MOST_STEPS)
    axes = _principal_axes(scaled, _ALL_VARIANCE)
    if axes is None or 2 * len(axes.components_) > scaled.shape[1]:
        return _fit(probe, scaled, labels)
    _fit(probe, axes.transform(scaled), labels)
    probe.coef_ = probe.coef_ @ axes.components_
    probe.intercept_ = probe.intercept_ - probe.coef_ @ axes.mean_
    return probe


def best_strength(
    scaled: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
) -> float:
    """Return the strength with the least balanced log loss on groups that were left out.

    Args:
        scaled: Standardised features (N, F).
        labels: Class indices (N,).
        groups: What is held out together (N,).
        seed: Draws some pixels of many, evenly over groups.
    """
    from sklearn.metrics import log_loss
    from sklearn.model_selection import GroupKFold
    from sklearn.utils.class_weight import compute_sample_weight

    rank = ranks_in_cells(groups, np.random.default_rng(seed))
    drawn = np.sort(np.argsort(rank, kind="stable")[:_PATH_PIXELS])
    scaled, labels, groups = reduced(scaled[drawn]), labels[drawn], groups[drawn]
    folds = min(_FOLDS, len(np.unique(groups)))
    classes = np.unique(labels)
    if folds < 2 or len(classes) < 2:
        return USUAL_STRENGTH
    index = np.searchsorted(classes, labels)
    losses = np.zeros(len(_STRENGTHS))
    for fit, judge in GroupKFold(folds).split(scaled, labels, groups):
        if len(np.unique(labels[fit])) < 2:
            continue
        weights = compute_sample_weight("balanced", labels[judge])
        paths = strength_path(scaled, index, fit, judge, strengths=_STRENGTHS, classes=len(classes))
        for i, shares in enumerate(paths):
            losses[i] += log_loss(labels[judge], shares, sample_weight=weights, labels=classes)
    return _STRENGTHS[int(losses.argmin())] if losses.any() else USUAL_STRENGTH


def strength_path(
    scaled: np.ndarray,
    labels: np.ndarray,
    fit: np.ndarray,
    judge: np.ndarray,
    *,
    strengths: Sequence[float],
    classes: int,
) -> list[np.ndarray]:
    """Return the probabilities of held-out pixels at each strength, each (J, K).

    Args:
        scaled: Standardised features (N, F).
        labels: Class indices (N,).
        fit: Indices of the pixels to fit; of two classes at least.
        judge: Indices of those held out, (J,).
        strengths: From weak to strong: each fit starts from the one before.
        classes: Number of classes K; those that are not fitted get next to nothing.
    """
    probe, found = _regression(strengths[0], steps=_PATH_STEPS, warm_start=True), []
    for strength in strengths:
        probe.set_params(C=strength)
        _fit(probe, scaled[fit], labels[fit])
        shares = np.full((len(judge), classes), 1e-6)
        shares[:, probe.classes_] += probe.predict_proba(scaled[judge])
        found.append(shares / shares.sum(axis=1, keepdims=True))
    return found


def reduced(scaled: np.ndarray) -> np.ndarray:
    """Return many features (N, F) in the few principal axes that hold nearly all of them."""
    axes = _principal_axes(scaled, _MOST_VARIANCE)
    return scaled if axes is None else axes.transform(scaled)


def ranks_in_cells(cell: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the place of each pixel in a random order of its cell, (N,), from 0."""
    _, cell = np.unique(cell, return_inverse=True)
    order = np.lexsort((rng.random(len(cell)), cell))
    sizes = np.bincount(cell)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.empty(len(cell), np.int64)
    rank[order] = np.arange(len(cell)) - first[cell[order]]
    return rank


def _principal_axes(scaled: np.ndarray, share: float) -> Any:
    """Return the axes that hold a share of the variance; none where they are not worth it."""
    from sklearn.decomposition import PCA  # takes its time

    if scaled.shape[1] <= _MANY or not np.ptp(scaled, axis=0).any():
        return None
    solver = "covariance_eigh" if len(scaled) > scaled.shape[1] else "full"
    return PCA(n_components=share, svd_solver=solver).fit(scaled)


def _regression(strength: float, *, steps: int, **options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression  # takes its time

    return LogisticRegression(C=strength, max_iter=steps, class_weight="balanced", **options)


def _fit(probe: Any, scaled: np.ndarray, labels: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(scaled, labels)
