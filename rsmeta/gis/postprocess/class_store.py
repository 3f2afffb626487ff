"""Class indices of a whole map in a file, so that memory does not grow with the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsmeta.gis.class_map import NO_CLASS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Pixels that are worked on at once.
STRIP_PX = 4_000_000


class ClassStore:
    """Class indices of a whole map in a file, int16, read and written some rows at a time.

    Args:
        path: The file; replaced if it exists.
        shape: Rows and columns.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path = path
        self.height_px, self.width_px = shape
        with path.open("wb") as file:
            file.truncate(2 * self.height_px * self.width_px)

    def strips(self, strip_px: int = STRIP_PX) -> Iterator[tuple[int, int]]:
        """Yield first row and end of strips of about ``strip_px`` pixels, from the top."""
        rows = max(1, strip_px // self.width_px)
        for top in range(0, self.height_px, rows):
            yield top, min(top + rows, self.height_px)

    def read(self, top: int, end: int) -> np.ndarray:
        """Return rows, (end - top, width) int16; rows outside the map are ``NO_CLASS``."""
        first, last = max(top, 0), min(end, self.height_px)
        rows = np.full((end - top, self.width_px), NO_CLASS, dtype=np.int16)
        count = (last - first) * self.width_px
        found = np.fromfile(self.path, np.int16, count, offset=2 * first * self.width_px)
        rows[first - top : last - top] = found.reshape(-1, self.width_px)
        return rows

    def write(self, top: int, rows: np.ndarray) -> None:
        """Write rows, (h, width) int16."""
        with self.path.open("r+b") as file:
            file.seek(2 * top * self.width_px)
            file.write(np.ascontiguousarray(rows, dtype=np.int16).tobytes())
