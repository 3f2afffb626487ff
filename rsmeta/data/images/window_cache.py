"""Windows of pictures, kept in memory, so that a picture is decoded once for all its objects."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from rsmeta.data.images.image_set import Pixels

#: Memory that kept windows may take, in each process that reads.
LIMIT_BYTES = 2**30


class WindowCache:
    """Windows that were read, by number; once their memory is full, later ones are not kept.

    Where windows are read in random order, as many are found in it as in one that makes room for
    the latest. Processes that are forked start with what was kept before, others with nothing.

    Args:
        limit_bytes: Memory that the windows may take.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        #: To be held while the windows of a picture are read.
        self.lock = threading.Lock()
        self._begun: set[int] = set()
        self._kept: dict[int, _Compact] = {}
        self._bytes = 0

    def __reduce__(self) -> tuple[type[WindowCache], tuple[int]]:
        return WindowCache, (self.limit_bytes,)

    @property
    def full(self) -> bool:
        """Whether nothing more is kept."""
        return self._bytes >= self.limit_bytes

    def begin(self, picture: int) -> bool:
        """Return whether to read the windows of a picture: once, and while there is room."""
        if self.full or picture in self._begun:
            return False
        self._begun.add(picture)
        return True

    def get(self, number: int) -> Pixels | None:
        """Return a window as it was read; none: it is not kept."""
        compact = self._kept.get(number)
        return None if compact is None else compact.pixels()

    def keep(self, number: int, pixels: Pixels) -> None:
        """Keep a window, as long as there is memory for it."""
        compact = _Compact.of(pixels)
        if self._bytes + compact.nbytes > self.limit_bytes:
            self._bytes = self.limit_bytes
        else:
            self._kept[number] = compact
            self._bytes += compact.nbytes


class _Compact(NamedTuple):
    """Pixels of which each takes a byte per band where the picture has them so.

    Attributes:
        data: Values (C, H, W) float32; or their places in ``table``, uint8.
        table: The different values, at most 256; none: ``data`` are the values.
        valid: As bits, of rows behind one another.
    """

    data: np.ndarray
    table: np.ndarray | None
    valid: np.ndarray

    @classmethod
    def of(cls, pixels: Pixels) -> _Compact:
        data, table = pixels.data, None
        values, places = np.unique(data, return_inverse=True)
        if len(values) <= 256:
            data, table = places.reshape(data.shape).astype(np.uint8), values
        return cls(data, table, np.packbits(pixels.valid))

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self if array is not None)

    def pixels(self) -> Pixels:
        data = self.data if self.table is None else self.table[self.data]
        shape = data.shape[1:]
        bits = np.unpackbits(self.valid, count=shape[0] * shape[1])
        return Pixels(data, bits.reshape(shape).astype(bool))
