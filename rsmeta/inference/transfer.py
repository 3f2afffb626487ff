"""Arrays on their way to a device and back, beside what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsmeta.inference.arrays import large_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike
    from torch import Tensor


class Transfer:
    """Copies between main memory and a device; on a CPU all stays where it is.

    With a GPU, copies pass through pinned memory and have a stream of their own, so that neither
    the kernels of the stream that computes nor the thread that launches them waits for them.

    Args:
        device: Where arrays go, and results come from.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @property
    def buffers(self) -> int:
        """How many arrays to fill in turn: the one while the other is copied."""
        return 1 if self._stream is None else 2

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, Any]:
        """Return an array to fill, whatever is in it."""
        if self._stream is None:
            return large_array(shape, dtype)
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=True).numpy()

    def to_device(self, array: np.ndarray[Any, Any]) -> Tensor:
        """Return an array on the device, for the stream that computes.

        One of ``array`` must be left alone until ``copied`` says so.
        """
        here = torch.from_numpy(array)
        if self._stream is None:
            return here
        with torch.cuda.stream(self._stream):
            there = here.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        there.record_stream(computing)  # its memory serves others when that stream is done, too
        return there

    def copied(self) -> Callable[[], None]:
        """Return what waits until the arrays that were given so far may be filled again."""
        return _nothing if self._stream is None else self._stream.record_event().synchronize

    def to_host(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Return a result of the stream that computes, in main memory."""
        if self._stream is None or not tensor.is_cuda:
            return tensor.cpu().numpy()
        here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            here.copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return here.numpy()


def _nothing() -> None:
    pass
