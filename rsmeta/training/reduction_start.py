"""Give a spectral reduction its principal components, from training pixels."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from rsmeta.models.reduction import principal_components

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData

logger = logging.getLogger(__name__)


def start_reduction(network: Network, data: TrainingData) -> None:
    """Set what bands are reduced to as ``model.stem.reduce: pca`` says; else do nothing.

    Args:
        network: Its backbone is changed.
        data: Training pixels; those of other parts are never read.
    """
    backbone = network.backbone
    if backbone.reduces_by != "pca" or backbone.projection is None:
        return
    weight = backbone.projection.weight
    found = principal_components(_pixels(network, data), len(weight))
    with torch.no_grad():
        weight.copy_(found[..., None, None])
    logger.info("%d bands are reduced to %d principal components", weight.shape[1], len(weight))


@torch.inference_mode()
def _pixels(network: Network, data: TrainingData) -> Iterator[torch.Tensor]:
    """Yield normalised valid pixels of the training part, (N, C)."""
    for batch in data.ordered_dataloader("train"):
        image, valid = batch["image"], batch["valid"]
        yield network.prepare(image, valid).movedim(1, -1)[valid]
