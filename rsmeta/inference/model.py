"""A model ready to map with: on its device, adapters merged, scores as probabilities."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from rsmeta.errors import enumerate_names
from rsmeta.inference.graph import check_engine, run_by
from rsmeta.inference.optimize import optimised
from rsmeta.inference.resize import of_size
from rsmeta.inference.test_time_augmentation import augmented
from rsmeta.models.packed import frozen
from rsmeta.peft import is_merged, merge, unmerge

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.inference.scoring import Model

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def ready(
    bundle: ModelBundle, record: BundleRecord, device: torch.device, *, batch_size: int
) -> Iterator[Model]:
    """Give the network as the task's probabilities or numbers, its adapters merged meanwhile.

    Args:
        bundle: Holds the network.
        record: What to map with.
        device: Where.
        batch_size: Tiles of a batch, which engines other than torch's must know beforehand.
    """
    asked = record.predict
    reduced = asked.precision == "bfloat16"
    check_engine(asked.engine, device, reduced=reduced or asked.optimize > 0)
    network = bundle.network.eval().to(device)
    fresh = not is_merged(network)
    if fresh and (left := merge(network).left):
        logger.info("%d adapters run as they are: %s", len(left), enumerate_names(left, 3))
    try:
        model: Model
        if asked.engine == "torch":
            model = optimised(
                network, record.made_task.activate, device,
                level=asked.optimize, reduced=reduced,
            )  # fmt: skip
        else:
            model = run_by(
                asked.engine, network, record.made_task.activate,
                shape=(batch_size, len(record.bands), record.tile_px, record.tile_px),
                name=record.backbone.name,
            )  # fmt: skip
        sized = of_size(model, record.tile_px) if record.per == "image" else model
        with frozen(network):
            yield augmented(sized, asked.augment)
    finally:
        if fresh:
            unmerge(network)
