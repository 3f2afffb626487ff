"""Which device a network runs on."""

from __future__ import annotations

import torch

from rsmeta.errors import RsmetaError, counted


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
        raise RsmetaError(
            f"--device {name}: this machine has {counted(count, 'GPU')}; use --device cpu"
        )
    return device
