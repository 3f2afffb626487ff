"""Which files and folders hold images: by suffix, and never the hidden ones of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.files import is_hidden

if TYPE_CHECKING:
    from pathlib import Path

#: Suffixes of files that are images.
SUFFIXES = frozenset({".tif", ".tiff", ".jpg", ".jpeg", ".png", ".vrt", ".bmp", ".webp", ".jp2"})


def is_image(path: Path) -> bool:
    """Return whether a file's name is that of an image."""
    return path.suffix.lower() in SUFFIXES and not is_hidden(path, path.parent)


def images_below(folder: Path) -> list[Path]:
    """Return the images in a folder and in those below it that are not hidden, sorted."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not is_hidden(path, folder))


def folders_in(folder: Path) -> list[Path]:
    """Return the folders directly in a folder that are not hidden, sorted."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p, folder))
