"""A hidden folder for what is not finished; it goes, whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def workplace(beside: str) -> Iterator[Path]:
    """Give an empty hidden folder beside a file or folder, so that results are moved, not copied.

    Args:
        beside: The file or folder; missing folders above it are created.
    """
    parent = Path(beside).absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".rsmeta-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def why_not_new(folder: str) -> str:
    """Return why a folder cannot take a new model; empty if it can."""
    path = Path(folder)
    if path.is_dir() and not any(path.iterdir()):
        return ""
    if path.exists():
        return f"{folder} holds something already, and nothing is replaced: choose a new folder"
    return ""


def move_into(files: Path, folder: str) -> None:
    """Move all files of a folder into another one, over files of the same name."""
    for file in files.iterdir():
        shutil.move(str(file), str(Path(folder) / file.name))
