"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rsmeta.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = "lock"


@contextmanager
def locked(folder: Path, wanted: Path) -> Iterator[None]:
    """Hold a folder, made if it is missing, for as long as the context lasts.

    The lock goes with the process, however that ends.

    Args:
        folder: The folder.
        wanted: What it is held for; for the message.

    Raises:
        OutputError: Another process holds it.
    """
    handle = _open_locked(folder / _NAME)
    while handle is not None and not _is_still(handle, folder / _NAME):
        os.close(handle)  # its last holder has just removed the folder
        handle = _open_locked(folder / _NAME)
    if handle is None:
        raise OutputError(
            f"another process is writing {wanted}; wait for it, or choose another name"
        )
    try:
        yield
    finally:
        os.close(handle)


def _open_locked(file: Path) -> int | None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _is_still(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False
