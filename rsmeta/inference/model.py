"""A model ready to map with: on its device, adapters merged, scores as probabilities."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from rsmeta.errors import enumerate_names
from rsmeta.inference.optimize import optimised
from rsmeta.inference.resize import of_size
from rsmeta.inference.test_time_augmentation import augmented
from rsmeta.peft import is_merged, merge, unmerge

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.inference.scoring import Model

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def ready(bundle: ModelBundle, record: BundleRecord, device: torch.device) -> Iterator[Model]:
    """Give the network as the task's probabilities or numbers, its adapters merged meanwhile."""
    network = bundle.network.eval().to(device)
    fresh = not is_merged(network)
    if fresh and (left := merge(network).left):
        logger.info("%d adapters run as they are: %s", len(left), enumerate_names(left, 3))
    asked = record.predict
    model = optimised(
        network, record.made_task.activate, device,
        level=asked.optimize, reduced=asked.precision == "bfloat16",
    )  # fmt: skip
    try:
        sized = of_size(model, record.tile_px) if record.per == "image" else model
        yield augmented(sized, asked.augment)
    finally:
        if fresh:
            unmerge(network)
