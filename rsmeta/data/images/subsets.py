"""Parts of a set of images: shares per class, long tails, a few per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.class_sampling import strata_of
from rsmeta.data.images.sampler import class_counts
from rsmeta.data.splits import choose_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsmeta.config.images import ImbalanceSettings
    from rsmeta.data.images.image_set import ImageSet
    from rsmeta.data.splits import Part


def divide(
    images: ImageSet, shares: Mapping[Part, float], classes: int, rng: np.random.Generator
) -> dict[Part, np.ndarray]:
    """Divide images into training and held-out parts, class by class.

    Images of one origin stay together. One image at least of every class stays for training; a
    class with two or more has one at least in every held-out part with a share, as far as they
    go round.

    Args:
        images: The images.
        shares: Share of every class that each held-out part takes.
        classes: Number of classes; 0: labels are numbers, of which any share will do.
        rng: Draws them.

    Returns:
        Indices of the images of each part, ascending.
    """
    wanted = {part: share for part, share in shares.items() if share}
    if images.origins is not None and wanted:
        return _by_origin(images, wanted, classes, rng)
    strata = np.zeros(len(images), np.int64)
    if classes:
        strata = strata_of(images.labels, class_counts(images.labels, classes))
    taken: dict[Part, list[np.ndarray]] = {part: [] for part in ("train", *wanted)}
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        for part, share in wanted.items():
            most = len(members) - 1
            count = min(most, max(1, round(share * np.count_nonzero(strata == stratum))))
            taken[part].append(members[:count])
            members = members[count:]
        taken["train"].append(members)
    return {part: np.sort(np.concatenate(found)) for part, found in taken.items()}


def _by_origin(
    images: ImageSet, shares: Mapping[Part, float], classes: int, rng: np.random.Generator
) -> dict[Part, np.ndarray]:
    """Divide whole origins, such that every class's share is near the requested one."""
    assert images.origins is not None
    names, number = np.unique(images.origins, return_inverse=True)
    counts = np.zeros((len(names), max(classes, 1)), np.int64)
    hot = images.labels > 0
    if images.labels.ndim == 1:
        hot = np.eye(max(classes, 1), dtype=np.bool_)[images.labels if classes else 0 * number]
    np.add.at(counts, number, hot.astype(np.int64))
    chosen = choose_blocks({(i, 0, 0): count for i, count in enumerate(counts)}, shares, rng)
    part_of = np.zeros(len(names), np.int64)
    for place, part in enumerate(shares, 1):
        part_of[[i for i, _, _ in chosen[part]]] = place
    return {
        part: np.flatnonzero(part_of[number] == place)
        for place, part in enumerate(("train", *shares))
    }


def thinned(
    labels: np.ndarray, imbalance: ImbalanceSettings, classes: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the images of a long-tailed subset, (n,) ascending.

    Class i of K keeps n_max * factor^(i / (K - 1)) images (exp), n_max being the most that a
    class has; or all up to K / 2 and n_max * factor after (step). A class that has fewer keeps
    all of its own.

    Args:
        labels: Class of each image, (N,).
        imbalance: Factor and type.
        classes: K.
        rng: Draws the images that stay.

    Source: Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", and
        Cao et al. 2019, "Learning Imbalanced Datasets with LDAM", for ``step``.
    """
    most = int(class_counts(labels, classes).max())
    kept = []
    for number in range(classes):
        exponent = number / max(classes - 1, 1)
        if imbalance.type == "step":
            exponent = 0.0 if number < classes // 2 else 1.0
        # Counts are cut to whole images, as published; a hair more than rounding errors keeps
        # 500 * 0.01 at 5.
        wanted = max(1, int(most * imbalance.factor**exponent + 1e-9))
        members = np.flatnonzero(labels == number)
        kept.append(rng.permutation(members)[:wanted])
    return np.sort(np.concatenate(kept))


def few(labels: np.ndarray, shots: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``shots`` images of every class at most, (n,) ascending."""
    strata = strata_of(labels, class_counts(labels, classes))
    kept = [rng.permutation(np.flatnonzero(strata == k))[:shots] for k in range(classes)]
    return np.sort(np.concatenate(kept))
