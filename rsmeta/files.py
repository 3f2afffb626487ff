"""Files and folders that appear under their name only when they are complete."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


#: File systems take names of up to 255 bytes; longer ones of hidden folders are cut to this.
_NAME_BYTES = 200
#: Characters that mean something to the libraries that open files in a hidden folder.
_SPECIAL = re.compile(r"[!;\\\x00-\x1f\x7f]")

#: Folders that operating systems, storage systems and programs leave among a user's files.
_OF_OTHERS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found",
     "__pycache__", "Thumbs.db"}
)  # fmt: skip


def is_hidden(path: Path, below: Path) -> bool:
    """Return whether a path, from a folder on, leads through a hidden folder or to a hidden file.

    Hidden are names that begin with a dot, as ``.ipynb_checkpoints``, and what other programs
    leave behind, as ``__MACOSX``.
    """
    parts = path.relative_to(below).parts
    return any(part.startswith(".") or part in _OF_OTHERS for part in parts)


@contextmanager
def write_atomically(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a hidden place to write a file or folder; it moves to its name when all went well.

    What had that name until then is replaced; after an error, or a kill, it is still there.

    Args:
        path: The name; missing folders above it are created.
        shared: Several processes may write the same file at once, as in a cache.

    Raises:
        OSError: It cannot be written.
    """
    folder = partial_folder(path)
    if shared:
        folder = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        hidden = folder / path.name
        yield hidden
        for file in [*hidden.rglob("*"), hidden]:
            to_disk(file)
        if hidden.is_dir() and path.is_dir():
            path.rename(folder / "replaced")
        hidden.replace(path)
        to_disk(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def partial_folder(path: Path) -> Path:
    """Return the hidden folder in which an output is held while it is not complete."""
    name = path.name
    if len(name.encode()) > _NAME_BYTES or _SPECIAL.search(name):
        start = _SPECIAL.sub("_", name).encode()[: _NAME_BYTES - 17].decode(errors="ignore")
        name = f"{start}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return path.with_name(f".{name}.partial")


def read_text(path: Path) -> str:
    """Read a text file: UTF-8, or UTF-16 with its byte order mark, as editors on Windows save it.

    Raises:
        OSError: It cannot be read.
        UnicodeError: It is no text.
    """
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def to_disk(path: Path) -> None:
    """Wait until the content of a file or folder is on the disk, not only in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
