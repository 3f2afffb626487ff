"""First weights of a classifier: one vector per class, from features or texts.

Every function returns vectors (K, D) of length 1, float32, for ``Classifier.point``.
"""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor
from torch.nn import functional

from rsmeta.errors import LabelsError

logger = logging.getLogger(__name__)

#: Steps after which the linear probe stops.
_MOST_STEPS = 1000


def random_weights(classes: int, dim: int) -> Tensor:
    """Return unit vectors drawn evenly from the sphere, (K, D)."""
    return functional.normalize(torch.randn(classes, dim), dim=-1)


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return each class's mean feature, normalised, (K, D).

    Args:
        features: Vectors (N, D) of any float type.
        labels: Class indices (N,) int64; -1: no label.
        classes: Number of classes K.

    Raises:
        LabelsError: A class has no feature.
    """
    counts = _counts(labels, classes)
    known = labels >= 0
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    sums.index_add_(0, labels[known], features[known].double())
    return functional.normalize(sums / counts[:, None], dim=-1).float()


def few_shot_means(
    features: Tensor, labels: Tensor, classes: int, *, shots: int, seed: int = 0
) -> Tensor:
    """Return the mean of a few features of each class, normalised, (K, D).

    Args:
        features: Vectors (N, D) of any float type.
        labels: Class indices (N,) int64; -1: no label.
        classes: Number of classes K.
        shots: Features per class; a class with fewer gives all that it has.
        seed: Decides which.

    Raises:
        LabelsError: A class has no feature.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels.cpu()[order]
    chosen = torch.cat([order[shuffled == k][:shots] for k in range(classes)]).to(labels.device)
    return class_means(features[chosen], labels[chosen], classes)


def linear_probe(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the weights of a logistic regression on the features, (K, D).

    Classes count alike however many features they have. Features are brought to length
    sqrt(D), so that the regularisation means the same for every backbone; the intercepts are
    dropped.

    Args:
        features: Vectors (N, D) of any float type.
        labels: Class indices (N,) int64; -1: no label.
        classes: Number of classes K.

    Raises:
        LabelsError: A class has no feature.
    """
    from sklearn.linear_model import LogisticRegression  # takes its time

    _counts(labels, classes)
    known = labels >= 0
    scaled = functional.normalize(features[known].double(), dim=-1) * features.shape[1] ** 0.5
    probe = LogisticRegression(class_weight="balanced", max_iter=_MOST_STEPS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        probe.fit(scaled.cpu().numpy(), labels[known].cpu().numpy())
    if probe.n_iter_.max() >= _MOST_STEPS:
        logger.warning("the linear probe had not converged after %d steps", _MOST_STEPS)
    weights = torch.from_numpy(probe.coef_)
    if classes == 2:  # one row separates two classes
        weights = torch.cat([-weights, weights])
    return functional.normalize(weights, dim=-1).float().to(features.device)


def text_weights(texts: Tensor) -> Tensor:
    """Return text features, normalised, (K, D).

    Args:
        texts: One feature per class (K, D), or one per class and prompt (K, P, D): of these
            the mean of them, an ensemble of prompts.

    Source: Radford et al. 2021, section 3.1.4.
    """
    weights = functional.normalize(texts.float(), dim=-1)
    if texts.ndim == 3:
        weights = functional.normalize(weights.mean(dim=1), dim=-1)
    return weights


def _counts(labels: Tensor, classes: int) -> Tensor:
    """Return the labels of each class, (K,); raises where one has none, or a label is beyond."""
    last = int(labels.max()) if labels.numel() else -1
    if last >= classes:
        raise LabelsError(f"label {last} is beyond the {classes} classes; name them all")
    counts = torch.bincount(labels[labels >= 0], minlength=classes)
    absent = [k for k, count in enumerate(counts.tolist()) if not count]
    if absent:
        shown = ", ".join(map(str, absent))
        raise LabelsError(
            f"no image of class {shown} (counted from 0) to start its weights from; add some, or "
            f"start from random weights"
        )
    return counts
