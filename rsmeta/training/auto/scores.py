"""Scores of held-out probabilities, their standard errors, and the choice among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.training.auto.candidates import Rule
    from rsmeta.training.auto.sample import Sample


def group_confusions(shares: np.ndarray, sample: Sample) -> np.ndarray:
    """Return the confusion matrix of each group, (G, K, K): reference, then prediction.

    Args:
        shares: Probabilities of pixels that were held out, (R, N, K), in each of R repeats; NaN
            where a pixel never was.
        sample: Labels, groups and weights of the N pixels.
    """
    places, classes = sample.places, sample.classes
    groups = int(places.group.max()) + 1
    total = np.zeros(groups * classes * classes)
    for one in shares:
        judged = ~np.isnan(one).any(axis=1)
        said = one[judged].argmax(axis=1)
        key = (places.group[judged] * classes + places.label[judged]) * classes + said
        total += np.bincount(key, sample.weight[judged], minlength=len(total))
    return total.reshape(groups, classes, classes) / len(shares)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes that references hold, of matrices (…, K, K)."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    truth, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    f1 = 2 * hit / np.maximum(truth + said, 1e-12)
    present = truth > 0
    mean: np.ndarray = (f1 * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
    return mean


def balanced_loss(shares: np.ndarray, sample: Sample) -> float:
    """Return the log loss of held-out probabilities (R, N, K), each class counting alike."""
    label, losses = sample.places.label, []
    for one in shares:
        judged = ~np.isnan(one).any(axis=1)
        own = one[judged, label[judged]]
        losses.append(_balanced(-np.log(np.clip(own, 1e-6, 1)), label[judged]))
    return float(np.mean(losses))


def _balanced(values: np.ndarray, label: np.ndarray) -> float:
    count = np.bincount(label)
    return float((values / count[label]).sum() / (count > 0).sum())


def resampled_f1(confusions: np.ndarray, rule: Rule, rng: np.random.Generator) -> np.ndarray:
    """Return the macro F1 of each candidate with groups drawn anew, (D, candidates).

    All candidates share the draws, so that differences are paired.

    Args:
        confusions: By candidate and group, (M, G, K, K).
        rule: Number of draws D.
        rng: Draws the groups.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 6.
    """
    models, _, classes, _ = confusions.shape
    judged = np.flatnonzero(confusions[0].sum(axis=(1, 2)) > 0)
    weights = rng.multinomial(len(judged), np.full(len(judged), 1 / len(judged)), rule.bootstrap)
    flat = confusions[:, judged].reshape(models, len(judged), -1)
    drawn = np.einsum("dg,mgx->dmx", weights.astype(np.float64), flat)
    return macro_f1(drawn.reshape(rule.bootstrap, models, classes, classes))


def choose(
    scores: np.ndarray,
    drawn: np.ndarray,
    complexity: Sequence[float],
    prior: int | None,
    rule: Rule,
    *,
    groups: float,
) -> tuple[int, str]:
    """Choose a candidate.

    Args:
        scores: Macro F1 of each candidate, (M,).
        drawn: The same with groups drawn anew, (D, M).
        complexity: The simpler one has less.
        prior: The usual choice, which keeps its place unless another is clearly better; none: the
            simplest wins that is not clearly worse than the best.
        rule: What is clear.
        groups: Groups per class that were held out, on average.

    Returns:
        Its index, and why.
    """
    best = int(scores.argmax())
    if prior is not None:
        better = scores - scores[prior]
        errors = (drawn - drawn[:, [prior]]).std(axis=0, ddof=1)
        clear = (better > rule.standard_errors * errors) & (better > rule.gain)
        if groups < rule.groups:
            return prior, (
                f"it is the usual choice, and {groups:.1f} polygons or blocks per class are too "
                f"few to depart from it ({rule.groups})"
            )
        if not clear.any():
            return prior, "it is the usual choice, and none is clearly better"
        best = max(np.flatnonzero(clear).tolist(), key=lambda i: float(scores[i]))
        return best, "it is clearly better than the usual choice"
    errors = (drawn - drawn[:, [best]]).std(axis=0, ddof=1)
    near = np.flatnonzero(scores >= scores[best] - rule.standard_errors * errors)
    chosen = min(near.tolist(), key=lambda i: (complexity[i], -float(scores[i])))
    if chosen == best:
        return best, "it is best"
    return chosen, "it is the simplest that is within the margin of error of the best"
