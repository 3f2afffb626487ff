"""Sums that wait for the next row of blocks: in a file, so that memory does not grow with width."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rsmeta.errors import OutputError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

    from torch import Tensor


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in the file.

    Attributes:
        start: Its first byte.
        shape: Its shape; always float32.
    """

    start: int
    shape: tuple[int, ...]


class SpillFile:
    """Holds tensors in a file without a name, which goes with the process; a context.

    Args:
        folder: Where there is room; none: the system's folder for temporary files.
        slot_bytes: The most that one tensor takes.
    """

    def __init__(self, folder: Path | None, slot_bytes: int) -> None:
        self._folder = folder
        self._slot_bytes = slot_bytes
        self._free: list[int] = []
        self._end = 0
        self._file: FileIO | None = None

    def __enter__(self) -> SpillFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, values: Tensor) -> Slot:
        """Write a float32 tensor.

        Raises:
            OutputError: The disk does not take it.
        """
        raw = values.cpu().contiguous().numpy()
        if raw.nbytes > self._slot_bytes:
            raise ValueError(f"{raw.nbytes} bytes are more than a slot's {self._slot_bytes}")
        start = self._free.pop() if self._free else self._end
        with self._errors_said():
            file = self._opened()
            file.seek(start)
            left = raw.data.cast("B")
            while left:
                left = left[file.write(left) :]
        self._end = max(self._end, start + self._slot_bytes)
        return Slot(start, raw.shape)

    def take(self, slot: Slot) -> Tensor:
        """Return a tensor; its place is free from now on."""
        values = torch.empty(slot.shape, dtype=torch.float32)
        with self._errors_said():
            file = self._opened()
            file.seek(slot.start)
            left = values.numpy().data.cast("B")
            while left:
                count = file.readinto(left)
                if not count:
                    raise OSError("its file was cut off")
                left = left[count:]
        self.drop(slot)
        return values

    def drop(self, slot: Slot) -> None:
        """Give a tensor's place to others."""
        self._free.append(slot.start)

    def _opened(self) -> FileIO:
        if self._file is None:
            # Without a buffer a full disk shows at once, and nothing is left to write later.
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        return self._file

    @contextmanager
    def _errors_said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = self._folder or tempfile.gettempdir()
            raise OutputError(
                f"cannot keep sums of tiles in {where} ({one_line(error)}); make room there "
                f"and repeat it with --resume"
            ) from error
