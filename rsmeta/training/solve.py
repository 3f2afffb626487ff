"""Solve for the weights of a head, from the features of labelled pixels."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from rsmeta.data.labelled_places import labelled_places
from rsmeta.data.streams import random_stream
from rsmeta.errors import LabelsError
from rsmeta.models.average import AverageNetwork
from rsmeta.training.blas import one_blas_thread
from rsmeta.training.pixel_features import features_at

if TYPE_CHECKING:
    from rsmeta.data.datamodule import SceneDataModule
    from rsmeta.data.splits import Part
    from rsmeta.heads import SolvedHead
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

logger = logging.getLogger(__name__)

#: Labelled pixels of one class, and of all, that count; of more, so many are drawn.
MOST_PER_CLASS = 10_000
MOST = 40_000


class LabelledPixels(NamedTuple):
    """Features and classes of labelled pixels.

    Attributes:
        features: (N, F) float32.
        labels: Class indices (N,) int64.
        groups: Number of the polygon, or block, that each pixel is of, (N,) int64.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


@one_blas_thread()
def solve_head(network: Network, data: TrainingData, *, seed: int) -> int:
    """Give the head the weights that fit the training labels best.

    Args:
        network: It is solvable, and its head is changed; of an average that of each member.
        data: Labelled scenes.
        seed: Decides what is random.

    Returns:
        How many labelled pixels it was solved on.

    Raises:
        LabelsError: The training labels hold fewer than two classes.
    """
    networks = network.members if isinstance(network, AverageNetwork) else [network]
    for one in networks:
        pixels = labelled_pixels(one, data, "train", seed=seed)
        check_classes(pixels.labels, data)
        head = cast("SolvedHead", one.head)
        warning = head.solve(pixels.features, pixels.labels, pixels.groups, seed=seed)
        if warning is not None:
            logger.warning("%s", warning)
    return len(pixels.labels)


def check_classes(labels: np.ndarray, data: TrainingData) -> None:
    """Check that labels are of two classes at least.

    Raises:
        LabelsError: They are not.
    """
    found = np.unique(labels)
    if len(found) < 2:
        names = [data.classes[k].name for k in found]
        raise LabelsError(
            f"the training labels hold only the class {names[0] if names else '(none)'}; a head "
            f"needs two classes to tell apart: add labels, or hold out less with data.split"
        )


def pixels_to_solve(data: SceneDataModule) -> int:
    """Return how many labelled pixels of the training part a head is solved with."""
    counts = np.asarray(data.class_counts)
    return int(np.minimum(counts, _most_of_each(counts)).sum())


def _most_of_each(counts: np.ndarray) -> int:
    """Return how many pixels of each class count at most."""
    return min(MOST_PER_CLASS, MOST // max(int((counts > 0).sum()), 1))


def labelled_pixels(
    network: Network, data: TrainingData, part: Part, *, seed: int
) -> LabelledPixels:
    """Return the features of the labelled pixels of a part, as the head takes them.

    Args:
        network: Prepares images and computes features; in evaluation mode afterwards.
        data: Labelled scenes.
        part: Which of them; of frequent classes of the training part some pixels are drawn.
        seed: Decides which.
    """
    data = cast("SceneDataModule", data)
    scenes = [one.labelled for one in data.parts[part]]
    shares = None
    if part == "train":
        counts = np.asarray(data.class_counts)
        shares = _most_of_each(counts) / np.maximum(counts, 1)
    places = labelled_places(
        scenes, data.settings, shares=shares, rng=random_stream("labelled_pixels", seed)
    )
    features = features_at(network, scenes, places, chip_px=data.settings.chip_px)
    return LabelledPixels(features, places.label, places.group)
