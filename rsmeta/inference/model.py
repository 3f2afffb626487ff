"""A model made ready to map with: on its device, adapters merged, scores as probabilities."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, cast

import torch

from rsmeta.errors import RsmetaError, enumerate_names
from rsmeta.inference.augment import augmented
from rsmeta.inference.optimize import optimised
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
    fresh = not is_merged(network)
    if fresh and (left := merge(network).left):
        logger.info("%d adapters run as they are: %s", len(left), enumerate_names(left, 3))
    asked = record.predict
    meant = optimised(
        network, record.made_task.activate, device,
        level=asked.optimize, reduced=asked.precision == "bfloat16",
    )  # fmt: skip
    try:
        if record.per == "image":
            yield averaged(of_size(meant, record.tile_px), asked.augment)
        else:
            yield augmented(meant, cast("Augment", asked.augment))
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
