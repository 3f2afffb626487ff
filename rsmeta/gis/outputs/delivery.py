"""Outputs that are made in one place and brought to another: object stores, Zarr, NetCDF.

A map is always made as a local GeoTIFF, so that it can be gone on with and is never seen half.
Where it is made tells where it goes: the folder of ``s3://bucket/key`` mirrors the bucket, that of
``map.nc`` is the hidden ``.map.nc.made`` beside it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import OutputError, one_line
from rsmeta.geo.arrays import is_array_file, need_engine
from rsmeta.geo.raster_source import is_path
from rsmeta.gis.outputs import object_store

if TYPE_CHECKING:
    from rsmeta.gis.outputs.products import Products

#: Also as it comes out of a ``Path``.
_S3 = re.compile(r"s3:/+")
_MADE = re.compile(r"\.(.+)\.made")


def local_place(given: str | Path) -> Path:
    """Return where an output is made: where the user wants it, if that is a GeoTIFF's place.

    Raises:
        OutputError: Nothing can be written there.
    """
    text = str(given)
    if _S3.match(text):
        key = _S3.sub("", text)
        if ".." in Path(key).parts or not key:
            raise OutputError(f"{text} names no object; write s3://bucket/name.tif")
        if is_array_file(key):
            raise OutputError(
                f"{text}: Zarr and NetCDF are written to local places; write it there and copy it, "
                f"or write a .tif"
            )
        return _staging() / key
    if isinstance(given, str) and not is_path(given):
        raise OutputError(f"cannot write to {given}; name a local file, or s3://bucket/name")
    path = Path(given)
    if is_array_file(path):
        return path.with_name(f".{path.name}.made") / f"{path.stem}.tif"
    return path


def final_place(path: Path) -> str:
    """Return where an output goes, from where it is made."""
    if path.is_relative_to(_staging()):
        return f"s3://{path.relative_to(_staging()).as_posix()}"
    made = _MADE.fullmatch(path.parent.name)
    if made and is_array_file(made[1]):
        return str(path.parent.with_name(made[1]))
    return str(path)


def is_brought(path: Path) -> bool:
    """Return whether an output goes elsewhere than where it is made."""
    return final_place(path) != str(path)


def is_there(path: Path) -> bool:
    """Return whether an output is where it goes, or lies ready to be brought there."""
    return path.is_file() or (is_brought(path) and _exists(final_place(path)))


def check_place(path: Path, *, overwrite: bool) -> None:
    """Check before any work that an output can be brought to its place.

    Raises:
        OutputError: It cannot, or is there and ``overwrite`` is not given.
        MissingExtraError: What writes it is not installed.
    """
    if not is_brought(path):
        return
    place = final_place(path)
    if is_path(place):
        need_engine(place, "dask")
    else:
        _make_staging()
    if _exists(place) and not overwrite:
        raise OutputError(f"{place} exists already; choose another name or give --overwrite")


def forget(path: Path) -> None:
    """Remove what an earlier run has made and not brought."""
    if is_brought(path):
        path.unlink(missing_ok=True)


def deliver(products: Products) -> None:
    """Bring outputs to their places, and remove them here.

    What belongs beside a raster goes with it. The map comes last: when it is seen, all else is
    there.

    Raises:
        OutputError: A place does not take them; here they are kept.
    """
    for name, path in reversed(list(products.files.items())):
        if not (is_brought(path) and path.is_file()):
            continue
        place = final_place(path)
        beside = [file for file in products.beside_file(name) if file.is_file()]
        if is_path(place):
            _convert(path, Path(place), name)
            for file in [*beside, path]:  # styles are for programs that open GeoTIFFs
                file.unlink()
        else:
            for file in [*beside, path]:
                object_store.upload(file, final_place(file))
            for file in [*beside, path]:
                file.unlink()
        _remove_empty(path.parent)


def _convert(path: Path, target: Path, name: str) -> None:
    from rsmeta.gis.outputs.array_files import write_array_file

    fresh = path.with_name(target.name)
    try:
        _remove(fresh)
        write_array_file(path, fresh, name)
        _remove(target)
        fresh.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target} ({one_line(error)}); the map is kept for --resume"
        ) from error


def _exists(place: str) -> bool:
    return Path(place).exists() if is_path(place) else object_store.exists(place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those above it that were made for it and hold nothing any more."""
    while folder.name.endswith(".made") or folder.is_relative_to(_staging()):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _staging() -> Path:
    """Return the folder of this user for what is to be uploaded; in ``TMPDIR``, if that is set."""
    return Path(tempfile.gettempdir()).resolve() / f"rsmeta-{os.getuid()}" / "s3"


def _make_staging() -> None:
    """Make that folder, for nobody else.

    Raises:
        OutputError: Somebody else has made it.
    """
    folder = _staging().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OutputError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own")
