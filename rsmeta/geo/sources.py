"""Which files a user's patterns mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import SceneError, SceneNotFoundError, one_line
from rsmeta.files import is_hidden, read_text
from rsmeta.geo.handles import open_raster
from rsmeta.geo.raster_source import is_path
from rsmeta.geo.safe import is_safe
from rsmeta.geo.stac_items import is_stac, item_sources

if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIXES = (".tif", ".tiff", ".vrt")
#: How the names of the tags begin that maps of rsmeta carry.
OWN_TAGS = "RSMETA_"
SIDECARS = (".xml", ".ovr", ".msk")


def expand_sources(patterns: Sequence[str | Path], root: Path = Path()) -> list[str | Path]:
    """Return the scenes that files, folders and glob patterns mean, each once.

    Args:
        patterns: Files; folders, which stand for their .tif, .tiff and .vrt files, and glob
            patterns, both without the maps that rsmeta made; STAC documents, which stand for
            their items; and GDAL's names (/vsi…, http://…), which pass through.
        root: Folder that relative ones start from.

    Returns:
        Scenes in the order of ``patterns``; within one in natural order (scene_2, scene_10).

    Raises:
        SceneNotFoundError: A file is missing, or a folder or pattern holds no scene.
        SceneError: A STAC document is unavailable or read.
    """
    found: dict[str, str | Path] = {}
    for pattern in patterns:
        if is_path(pattern) and "#" not in str(pattern):
            given: list[str | Path] = list(_files(pattern, root))
        else:
            given = [pattern]
        for source in given:
            for one in item_sources(source) if is_stac(source) else [source]:
                found.setdefault(str(one), one)
    return list(found.values())


def scene_stem(source: str | Path) -> str:
    """Return what the files of a scene are called: its name without ending, or its item's id."""
    text = str(source)
    if is_stac(text) and "#" in text:
        text = re.sub(r"[^\w.+-]", "_", text.partition("#")[2]) + ".json"
    elif "://" in text:
        text = text.partition("?")[0].rstrip("/")
    elif is_safe(text) and Path(text).suffix == ".xml":  # all products call their metadata alike
        return Path(text).expanduser().absolute().parent.stem
    return Path(text).stem


def read_lists(patterns: Sequence[str | Path]) -> list[str | Path]:
    """Return patterns with lists of them (``@list.txt``, ``list.txt``) replaced by their lines.

    Empty lines and those that begin with # are left out; relative paths start at the list.

    Raises:
        SceneNotFoundError: A list is missing, or names nothing.
    """
    found: list[str | Path] = []
    for pattern in patterns:
        listed = list_file(pattern)
        found += [pattern] if listed is None else _lines(listed)
    return found


def list_file(pattern: str | Path) -> Path | None:
    """Return the list of patterns that a pattern names; none: it is not such a list."""
    text = str(pattern)
    if is_path(pattern) and (text.startswith("@") or text.lower().endswith(".txt")):
        return Path(text.removeprefix("@")).expanduser()
    return None


def _lines(path: Path) -> list[str | Path]:
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except OSError:
        raise SceneNotFoundError(path) from None
    except UnicodeError as error:
        raise SceneError(
            f"cannot read the list {path} ({one_line(error)}); save it as UTF-8 text"
        ) from error
    named = [_unquoted(line) for line in lines if line and not line.startswith("#")]
    if not named:
        raise SceneNotFoundError(path)
    return [path.parent / Path(line).expanduser() if is_path(line) else line for line in named]


def _unquoted(line: str) -> str:
    is_quoted = len(line) > 2 and line[0] == line[-1] and line[0] in "\"'"
    return line[1:-1] if is_quoted else line


def _files(pattern: str | Path, root: Path) -> list[Path]:
    path = root / Path(pattern).expanduser()
    if path.is_file() or is_raster_folder(path):
        return [path]
    if path.is_dir():
        files = [p for p in path.iterdir() if _is_scene(p) and not is_hidden(p, path)]
    elif any(mark in str(pattern) for mark in "*?["):
        start = Path(path.anchor)
        found = start.glob(str(path.relative_to(start)))
        shown = (p for p in found if not is_hidden(p, _fixed(path)))
        files = [p for p in shown if _is_no_sidecar(p) or is_raster_folder(p)]
    else:
        files = []
    files = [p for p in files if not _is_own_map(p)]
    if not files:
        raise SceneNotFoundError(path)
    return sorted(files, key=lambda p: _natural(str(p)))


def _fixed(pattern: Path) -> Path:
    """Return the folder that a glob pattern names before its first wildcard."""
    marked = (i for i, part in enumerate(pattern.parts) if any(mark in part for mark in "*?["))
    return Path(*pattern.parts[: next(marked)])


def is_raster_folder(path: Path) -> bool:
    """Return whether a folder is one raster to GDAL: a Zarr store or a Sentinel-2 product."""
    return path.is_dir() and path.suffix.lower() in (".zarr", ".safe")


def _is_scene(path: Path) -> bool:
    return (path.is_file() and path.suffix.lower() in SUFFIXES) or (path.exists() and is_safe(path))


def _is_no_sidecar(path: Path) -> bool:
    return path.is_file() and path.suffix not in SIDECARS


def _is_own_map(path: Path) -> bool:
    """Return whether a file among many is a map that rsmeta made, and so no scene."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        tags = open_raster(path).tags()
    except SceneError:
        return False
    return any(name.startswith(OWN_TAGS) for name in tags)


def _natural(text: str) -> list[tuple[int, int | str]]:
    """Return a sort key that takes runs of digits as numbers."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
