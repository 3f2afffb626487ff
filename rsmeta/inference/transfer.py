"""Everything that depends on where a network computes: arrays to fill, copies, sums of tiles.

The engine is written once, against ``Transfer``, its form for a CPU; ``CudaTransfer`` overrides
what pinned memory, streams and the memory of a GPU change.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsmeta.inference.arrays import large_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike
    from torch import Tensor

#: Numbers to work on at once, so that the next step finds them in the processor's cache.
_CACHED = 2**16


class Transfer:
    """Main memory, where a CPU computes: nothing is copied on the way to the network and back.

    NumPy does the work, in one thread: torch would share each small step among threads of its own,
    which then spin for more and take the processor from the network.

    Attributes:
        device: Where arrays go, and results come from.
        buffers: How many arrays to fill in turn, while nothing but copies reads them.
    """

    device = torch.device("cpu")
    buffers = 1

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, Any]:
        """Return an array to fill, whatever is in it."""
        return large_array(shape, dtype)

    def to_device(self, array: np.ndarray[Any, Any]) -> Tensor:
        """Return an array on the device, for the stream that computes.

        One of ``array`` must be left alone until ``copied`` says so.
        """
        return torch.from_numpy(array)

    def copied(self) -> Callable[[], None]:
        """Return what waits until the arrays that were given so far may be filled again."""
        return _nothing

    def to_host(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """Return a result of the stream that computes, in main memory."""
        return tensor.numpy()

    def kept(self, tensor: Tensor) -> Tensor:
        """Return a copy, which does not keep alive what the tensor is a part of."""
        return torch.from_numpy(tensor.numpy().copy())

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Return zeros to sum up in, float32."""
        return torch.from_numpy(large_array(shape, np.float32))

    def add_weighted(
        self, sums: Tensor, scores: Tensor, rows: np.ndarray[Any, Any], cols: np.ndarray[Any, Any]
    ) -> None:
        """Add scores times weights to sums.

        Args:
            sums: (K, h, w) float32, on the device.
            scores: Likewise.
            rows: Weights of rows, (h,) float32, unitless.
            cols: Weights of columns, (w,) likewise.
        """
        weights = rows[:, None] * cols
        step = max(_CACHED // weights.size, 1)
        for first in range(0, len(scores), step):
            some = slice(first, first + step)
            total = sums.numpy()[some]
            total += scores.numpy()[some] * weights


class CudaTransfer(Transfer):
    """A GPU: copies pass through pinned memory and have a stream of their own.

    So neither the kernels of the stream that computes nor the thread that launches them waits for
    them.

    Args:
        device: The GPU.
    """

    buffers = 2

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, Any]:
        """Return a pinned array to fill: one while the other is copied."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=True).numpy()

    def to_device(self, array: np.ndarray[Any, Any]) -> Tensor:
        """See ``Transfer``."""
        with torch.cuda.stream(self._stream):
            there = torch.from_numpy(array).to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._stream)
        there.record_stream(computing)  # its memory serves others when that stream is done, too
        return there

    def copied(self) -> Callable[[], None]:
        """See ``Transfer``."""
        wait: Callable[[], None] = self._stream.record_event().synchronize
        return wait

    def to_host(self, tensor: Tensor) -> np.ndarray[Any, Any]:
        """See ``Transfer``."""
        here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            here.copy_(tensor, non_blocking=True)
        self._stream.synchronize()
        return here.numpy()

    def kept(self, tensor: Tensor) -> Tensor:
        """See ``Transfer``."""
        return tensor.clone()

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """See ``Transfer``."""
        return torch.zeros(shape, device=self.device)

    def add_weighted(
        self, sums: Tensor, scores: Tensor, rows: np.ndarray[Any, Any], cols: np.ndarray[Any, Any]
    ) -> None:
        """See ``Transfer``."""
        down, across = (_weights_on(axis.tobytes(), self.device) for axis in (rows, cols))
        sums.addcmul_(scores, down[:, None] * across)


def transfer_for(device: torch.device) -> Transfer:
    """Return the transfer between main memory and a device."""
    return CudaTransfer(device) if device.type == "cuda" else Transfer()


@lru_cache(maxsize=4096)  # the same few, over and over
def _weights_on(weights: bytes, device: torch.device) -> Tensor:
    """Return float32 numbers on a GPU, without waiting for what it is at."""
    numbers = torch.frombuffer(bytearray(weights), dtype=torch.float32)
    return numbers.pin_memory().to(device, non_blocking=True)


def _nothing() -> None:
    pass
