"""What class counts say: weights and priors. A class without label counts as the rarest other."""

from __future__ import annotations

import torch
from torch import Tensor


def filled_counts(counts: Tensor) -> Tensor:
    """Return counts (K,) without zeros: a class without label counts as the rarest that has some.

    It then neither takes all weight nor leaves every score (a prior of zero would); where no
    class has a label, all count 1.
    """
    present = counts > 0
    if not present.any():
        return torch.ones_like(counts)
    return counts.where(present, counts[present].min())


def frequency_weights(counts: Tensor, power: float) -> Tensor:
    """Return one over each class's frequency to a power, 1 on average over classes with labels.

    Args:
        counts: Labelled training pixels, or images, of each class, (K,).
        power: 1: inversely to the frequency; 0.5: to its square root; 0: all alike.

    Returns:
        Weights (K,) float32, unitless.
    """
    return mean_one(filled_counts(counts).double().pow(-power), counts)


def mean_one(weights: Tensor, counts: Tensor) -> Tensor:
    """Scale weights (K,) to 1 on average over the classes with labels; float32."""
    present = counts > 0
    of_present = weights[present] if present.any() else weights
    return (weights / of_present.mean()).float()


def class_priors(counts: Tensor) -> Tensor:
    """Return the share of each class among the labels, (K,) float32, none of it 0."""
    filled = filled_counts(counts)
    return (filled / filled.sum()).float()
