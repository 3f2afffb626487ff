"""Inputs are never outputs: which files are read, and whether writing one would replace them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import OutputError
from rsmeta.geo.handles import open_raster
from rsmeta.geo.raster_source import RasterSource, is_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rsmeta.geo.raster_source import AnySource

#: What belongs to a file, raster or vector, under its whole name, …
_ADDED = (".aux.xml", ".ovr", ".msk", ".msk.ovr", ".xml", "-wal", "-shm", "-journal")
#: … and with another suffix in place of its own.
_INSTEAD = (
    ".aux", ".cpg", ".dbf", ".hdr", ".imd", ".ovr", ".prj", ".qix", ".qmd", ".qml", ".qpj", ".rpb",
    ".rrd", ".sbn", ".sbx", ".shp", ".shx", ".sld", ".tab", ".tfw", ".tifw", ".tiffw", ".wld",
)  # fmt: skip
_ARCHIVES = re.compile(r"/vsi(zip|tar|gzip|7z|rar)/\{?")


def raster_files(source: AnySource) -> set[str | Path]:
    """Return all that a raster is read from: local paths, and addresses of what is remote.

    The sources of a VRT are among them, those of a VRT in a VRT too.

    Raises:
        SceneError: It cannot be opened.
    """
    source = RasterSource.of(source)
    seen, waiting = {source.uri}, [source.gdal_name]
    while waiting:
        name = waiting.pop()
        new = {name, *map(str, open_raster(name).files)} - seen
        seen |= new
        waiting += [file for file in new if file.lower().endswith(".vrt") and file != name]
    return {_place(name) for name in seen if not name.lstrip().startswith("<")}


def check_not_an_input(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Refuse outputs that would replace an input, or a file that belongs to one.

    Names are compared by the files behind them: links and relative paths make no difference. An
    input that is a folder stands for all files in it.

    Args:
        outputs: Where files are to be written: paths, or addresses of objects.
        inputs: Files and folders that are read; those that do not exist are ignored.

    Raises:
        OutputError: An output is an input.
    """
    places = [_place(str(given)) for given in inputs]
    addresses = {place: place for place in places if isinstance(place, str)}
    paths = [place for place in places if isinstance(place, Path)]
    family = ((_identity(file), path) for path in paths for file in _family(path))
    files = {identity: path for identity, path in family if identity is not None}
    folders = [path.resolve() for path in paths if path.is_dir()]
    for output in outputs:
        place = _place(str(output))
        read = addresses.get(place) if isinstance(place, str) else _harmed(place, files, folders)
        if read is not None:
            what = "is an input" if str(read) == str(output) else f"belongs to the input {read}"
            raise OutputError(f"{output} {what}, which would be lost; choose another name")


def _harmed(output: Path, files: dict[tuple[int, int], Path], folders: list[Path]) -> Path | None:
    """Return the input that a file of this name would replace."""
    # A raster that is written takes away what lies beside one of its name.
    for target in (output, *(output.with_name(output.name + end) for end in _ADDED[:4])):
        identity = _identity(target)
        if identity is not None and identity in files:
            return files[identity]
    place = output.resolve()
    for folder in (folder for folder in folders if output.exists()):
        if place == folder or place.is_relative_to(folder):
            return folder
    inside = (path for path in files.values() if path.resolve().is_relative_to(place))
    return next(inside, None) if output.is_dir() else None


def _family(path: Path) -> list[Path]:
    """Return a file and what may lie beside it."""
    if not path.suffix:
        return [path]
    return [
        path,
        *(path.with_name(path.name + end) for end in _ADDED),
        *(path.with_suffix(end) for end in _INSTEAD),
    ]


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what is the same for all names of one file; none where there is no file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _place(name: str) -> str | Path:
    """Return the local file behind a name, or its address, as in s3://bucket/key."""
    if name.startswith("/vsis3/"):
        return "s3://" + name.removeprefix("/vsis3/").partition("?")[0]
    if (archive := _ARCHIVES.match(name)) is not None:
        inside = Path(name[archive.end() :].rstrip("}"))
        return next((path for path in (inside, *inside.parents) if path.is_file()), inside)
    if not is_path(name):
        return name.partition("?")[0]
    return Path(name).expanduser()
