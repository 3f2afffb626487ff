"""What an interrupted run has finished, line by line, in a form that survives a power cut.

Each line is the CRC-32 of its text, a space, and the text: JSON. The first holds all that
determines the pixels; each other one a finished block. A line that is cut off, or whose sum does
not fit, ends the journal.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import TYPE_CHECKING, Any

from rsmeta.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType


class Journal:
    """Finished blocks of one output; opened as a context.

    Args:
        path: The file.
        resume_fingerprint: What determines the pixels, under names that a user understands; JSON.

    Attributes:
        path: The file.
        entries: What ``add`` was given, in this run and those before.
    """

    def __init__(self, path: Path, resume_fingerprint: Mapping[str, Any]) -> None:
        self.path = path
        self._begun_with = json.loads(json.dumps(resume_fingerprint))
        self.entries: list[dict[str, Any]] = []

    def __enter__(self) -> Journal:
        lines, size = _sound_lines(self.path)
        self._file = self.path.open("ab", buffering=0)
        self._file.truncate(size)
        if lines:
            self.entries = lines[1:]
        else:
            self._append(self._begun_with)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Note a finished block; what it stands for is on the disk already.

        Raises:
            OSError: The disk does not take the line.
        """
        self._append(entry)
        self.entries.append(dict(entry))

    def _append(self, entry: Mapping[str, Any]) -> None:
        self._file.write(_line(entry))
        os.fsync(self._file.fileno())


def check_same(path: Path, resume_fingerprint: Mapping[str, Any], output: Path) -> None:
    """Refuse to resume a map that was begun with another model, scene or setting.

    Raises:
        OutputError: The journal's first line differs from ``resume_fingerprint``.
    """
    lines, _ = _sound_lines(path)
    if not lines:
        return
    now = json.loads(json.dumps(resume_fingerprint))
    for name in {**lines[0], **now}:
        before, after = lines[0].get(name), now.get(name)
        if json.dumps(before) != json.dumps(after):  # NaN equals NaN here
            other = _difference(name, before, after)
            raise OutputError(
                f"cannot resume {output}: it was begun with another {other}; give the same, or "
                f"omit --resume to start over"
            )


def read_begun_with(path: Path) -> dict[str, Any] | None:
    """Return the first line of a journal; none if there is no sound one."""
    lines, _ = _sound_lines(path)
    return lines[0] if lines else None


def _difference(name: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        key = next(k for k in {**before, **after} if before.get(k) != after.get(k))
        return f"{name}, {_difference(key, before.get(key), after.get(key))}"
    return f"{name} ({before}, now {after})"


def _line(entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _sound_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the entries up to the first damaged line, and their length in bytes."""
    entries: list[dict[str, Any]] = []
    size = 0
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return entries, size
    for line in raw.splitlines(keepends=True):
        head, _, text = line.removesuffix(b"\n").partition(b" ")
        if not line.endswith(b"\n") or head != b"%08x" % zlib.crc32(text):
            break
        entries.append(json.loads(text))
        size += len(line)
    return entries, size
