"""A model made ready to map with: on its device, adapters merged, scores as probabilities."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, cast

import torch

from rsmeta.errors import RsmetaError, enumerate_names
from rsmeta.inference.augment import augmented
from rsmeta.inference.views import averaged, of_size
from rsmeta.peft import is_merged, merge, unmerge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.inference.augment import Augment
    from rsmeta.inference.scoring import Model

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def ready(bundle: ModelBundle, record: BundleRecord, device: torch.device) -> Iterator[Model]:
    """Give the network as the task's probabilities or numbers, its adapters merged meanwhile."""
    network = bundle.network.eval().to(device)
    task = record.made_task
    reduced = record.predict.precision == "bfloat16"

    def probabilities(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            scores: torch.Tensor = network(image, valid)
        return task.activate(scores)

    fresh = not is_merged(network)
    if fresh and (left := merge(network).left):
        logger.info("%d adapters run as they are: %s", len(left), enumerate_names(left, 3))
    views = record.predict.augment
    try:
        if record.per == "image":
            yield averaged(of_size(probabilities, record.tile_px), views)
        else:
            yield augmented(probabilities, cast("Augment", views))
    finally:
        if fresh:
            unmerge(network)


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is the first GPU if there is one.

    Raises:
        RsmetaError: The device is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise RsmetaError(f"no device is called {name!r}; use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise RsmetaError(f"--device {name}: this machine has {count} GPU(s); use --device cpu")
    return device
