"""Solve for the weights of a head, from the features of labelled pixels."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from rsmeta.errors import LabelsError

if TYPE_CHECKING:
    from rsmeta.data.datamodule import Batch
    from rsmeta.data.splits import Part
    from rsmeta.heads import SolvedHead
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

logger = logging.getLogger(__name__)

#: Labelled pixels of one class that count; of more, so many are drawn.
MOST_PER_CLASS = 20_000


class LabelledPixels(NamedTuple):
    """Features and classes of labelled pixels.

    Attributes:
        features: (N, F) float32.
        labels: Class indices (N,) int64.
        groups: Number of the chip that each pixel is of, (N,) int64.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def solve_head(network: Network, data: TrainingData, *, seed: int) -> None:
    """Give the head the weights that fit the training labels best.

    Args:
        network: Its head is a ``SolvedHead``, and is changed.
        data: Labelled scenes.
        seed: Decides what is random.

    Raises:
        LabelsError: The training labels hold fewer than two classes.
    """
    started = time.monotonic()
    pixels = labelled_pixels(network, data, "train", seed=seed)
    found = np.unique(pixels.labels)
    if len(found) < 2:
        names = [data.classes[k].name for k in found]
        raise LabelsError(
            f"the training labels hold only the class {names[0] if names else '(none)'}; a head "
            f"needs two classes to tell apart: add labels, or hold out less with data.split"
        )
    head = cast("SolvedHead", network.head)
    head.solve(pixels.features, pixels.labels, pixels.groups, seed=seed)
    logger.info(
        "solved for the head on %s labelled pixels with %d features each, in %.1f s",
        f"{len(pixels.labels):,}", pixels.features.shape[1], time.monotonic() - started,
    )  # fmt: skip


def labelled_pixels(
    network: Network, data: TrainingData, part: Part, *, seed: int
) -> LabelledPixels:
    """Return the features of the labelled pixels of a part, as the head takes them.

    Args:
        network: Prepares images and computes features; in evaluation mode afterwards.
        data: Labelled scenes.
        part: Which of them.
        seed: Decides which pixels of a frequent class are drawn.
    """
    network.eval()
    draw = np.random.default_rng(seed)
    # Of each chip its share is drawn, so that no chip is left out.
    counts = np.maximum(np.asarray(data.class_counts), 1) if part == "train" else None
    features, labels, groups = [], [], []
    for number, batch in enumerate(data.ordered_dataloader(part)):
        found, classes, chips = _of_batch(network, batch)
        if counts is not None:
            keep = draw.random(len(classes)) < (MOST_PER_CLASS / counts)[classes]
            found, classes, chips = found[keep], classes[keep], chips[keep]
        features.append(found)
        labels.append(classes)
        groups.append(chips + number * len(batch["image"]))
    return LabelledPixels(np.concatenate(features), np.concatenate(labels), np.concatenate(groups))


@torch.inference_mode()
def _of_batch(network: Network, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, classes and chip of each labelled, valid pixel of a batch."""
    device = network.device
    image, valid = batch["image"].to(device), batch["valid"].to(device)
    found = network.pixel_features(image, valid).movedim(1, -1)
    labelled = (batch["mask"] >= 0) & batch["valid"]
    chips = torch.arange(len(image))[:, None, None].expand(labelled.shape)
    chosen = found[labelled.to(device)].float().cpu().numpy()
    return chosen, batch["mask"][labelled].numpy(), chips[labelled].numpy()
