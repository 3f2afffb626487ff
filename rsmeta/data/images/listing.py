"""Which files and folders hold images: by suffix, and never the hidden ones of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Suffixes of files that are images.
SUFFIXES = frozenset({".tif", ".tiff", ".jpg", ".jpeg", ".png", ".vrt", ".bmp", ".webp", ".jp2"})


def is_image(path: Path) -> bool:
    """Return whether a file's name is that of an image."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
