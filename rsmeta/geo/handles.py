"""Open raster files: one handle per file, thread and process, and errors in plain words."""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
import warnings
from collections import OrderedDict
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rasterio
from rasterio._err import CPLE_BaseError  # no public name, yet some calls let it out
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from rsmeta.errors import (
    SceneNotFoundError,
    SceneUnreachableError,
    SceneUnreadableError,
    one_line,
)
from rsmeta.geo.arrays import find_held, is_array_file, open_array_file
from rsmeta.geo.prisma import is_prisma, open_prisma
from rsmeta.geo.raster_source import AnySource, RasterSource
from rsmeta.geo.remote import (
    forget,
    is_remote,
    may_pass,
    remote_error,
    remote_options,
    remote_state,
    tries_after_silence,
    without_query,
)
from rsmeta.geo.vsi import reset_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rsmeta.errors import SceneError

logger = logging.getLogger(__name__)

T = TypeVar("T")

# GDAL's shortcut for whole PNGs says nothing of a file that ends too early, and leaves what it
# could not read as it found it in memory.
os.environ.setdefault("GDAL_PNG_WHOLE_IMAGE_OPTIM", "NO")

#: All that rasterio raises when GDAL fails.
GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError)

#: Handles that a thread keeps open; the least recently used one is closed first.
MAX_OPEN = 16

#: The most that GDAL keeps of decoded pixels: a few tiles of a file of many bands for each reading
#: thread. A block is read once, so more would hardly be used.
CACHE_BYTES = 64 * 2**20

_NOT_THERE = re.compile(r"no such file|does not exist|not found", re.I)

_threads = threading.local()
# The filter for warnings belongs to the process: two threads must not change it at once.
_opening = threading.Lock()


def _renew_lock() -> None:
    """Replace the lock in a forked process: another thread's hold on it was copied too."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


@atexit.register
def _close() -> None:
    """Close the main thread's handles: rasterio cannot once the interpreter is being taken down."""
    for raster in _threads.__dict__.pop("opened", {}).values():
        raster.close()


def open_raster(source: AnySource) -> Any:
    """Return a handle for this thread; it is reopened when the file has changed.

    Raises:
        SceneNotFoundError: Nothing is there.
        SceneUnreadableError: GDAL cannot open it.
    """
    source = RasterSource.of(source)
    if (raster := find_held(source)) is not None:
        return raster
    opened: OrderedDict[Any, Any] = _threads.__dict__.setdefault("opened", OrderedDict())
    # A forked process must not read through its parent's file positions.
    key = (os.getpid(), source.gdal_name, _stamp(source))
    if key not in opened:
        opened[key] = _open(source)
        while len(opened) > MAX_OPEN:
            opened.popitem(last=False)[1].close()
    opened.move_to_end(key)
    return opened[key]


def open_quietly(*args: Any, **options: Any) -> Any:
    """Call ``rasterio.open`` without its warning about rasters without georeferencing.

    Libraries in other threads change the filters too and know no lock, so that the command line
    sets this filter once for all.
    """
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(*args, **options)


@contextmanager
def reading(source: AnySource) -> Iterator[None]:
    """Turn what GDAL says while pixels are read into a ``SceneUnreadableError``."""
    source = RasterSource.of(source)
    try:
        with remote_options() if source.is_remote else nullcontext():
            yield
    except GDAL_ERRORS as error:
        reset_error()
        raise _said(source, error) from error


def read_from(source: RasterSource, read: Callable[[Any], T]) -> T:
    """Return what a function reads of a raster; again where a server has fallen silent.

    Args:
        source: The raster.
        read: Reads from its handle.

    Raises:
        SceneError: It cannot be opened, or not be read.
    """

    def attempt() -> T:
        try:
            return read(open_raster(source))
        except GDAL_ERRORS:
            if source.is_remote:
                _drop(source)
            raise

    with reading(source):
        return _patiently(source, attempt)


def _patiently(source: RasterSource, attempt: Callable[[], T]) -> T:
    """Return what an attempt gives, with the options of its source; or one of some after it."""
    if not source.is_remote or _threads.__dict__.get("patient"):  # opened in order to be read
        return attempt()
    _threads.patient = True
    try:
        with remote_options():
            left = tries_after_silence()
            while True:
                try:
                    return attempt()
                except (*GDAL_ERRORS, SceneUnreachableError) as error:
                    forget(source.gdal_name)
                    said = innermost(error)
                    if not left or not may_pass(said):
                        raise
                left -= 1
                logger.info("%s: %s; trying again", source.name, said)
    finally:
        _threads.patient = False


def _drop(source: RasterSource) -> None:
    """Close the handle of this thread."""
    opened = _threads.__dict__.get("opened", {})
    for key in [key for key in opened if key[1] == source.gdal_name]:
        opened.pop(key).close()


@contextmanager
def bounded_cache(size: int = CACHE_BYTES) -> Iterator[None]:
    """Bound GDAL's cache of decoded pixels, unless the user did by ``GDAL_CACHEMAX``.

    GDAL would take a share of the machine's memory, however small the work is. rasterio takes
    bytes, unlike the variable, which takes megabytes.

    Args:
        size: In bytes.
    """
    chosen = {} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": size}
    with rasterio.Env(**chosen):
        yield


def other_georeferencing(source: AnySource) -> str:
    """Return what places a raster beside, or instead of, its grid; empty: nothing.

    Raises:
        SceneError: It cannot be opened.
    """
    dataset = open_raster(source)
    points, _ = getattr(dataset, "gcps", ((), None))
    found = [f"{len(points)} ground control points"] if points else []
    if getattr(dataset, "rpcs", None) is not None:
        found.append("rational polynomial coefficients (RPCs)")
    return " and ".join(found)


def file_states(source: AnySource) -> dict[str, Any]:
    """Return the state of each file that a raster is made of, to notice a change.

    Those of a VRT are among them; statistics and overviews beside a file are not.

    Returns:
        Of local files [size in bytes, time of change in ns], of folders the sum and the latest of
        what is in them; of files behind a network what their servers say, see ``remote_state``.

    Raises:
        SceneError: It cannot be opened.
    """
    states: dict[str, Any] = {}
    for name in sorted(open_raster(source).files):
        if name.endswith((".aux.xml", ".ovr")):
            continue
        if is_remote(name) and not Path(name).exists():
            states[without_query(name).removeprefix("/vsicurl/")] = remote_state(name)
        elif Path(name).exists():
            states[str(Path(name).resolve())] = _local_state(Path(name))
    return states


def _local_state(path: Path) -> list[int]:
    inside = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    found = [file.stat() for file in inside]
    return [sum(s.st_size for s in found), max((s.st_mtime_ns for s in found), default=0)]


def _stamp(source: RasterSource) -> tuple[int, int] | None:
    if source.path is None:
        return None
    try:
        state = source.path.stat()
    except OSError:
        raise SceneNotFoundError(source.name) from None
    return state.st_mtime_ns, state.st_size


def _open(source: RasterSource) -> Any:
    path = source.path
    if path is not None and is_array_file(path):
        return open_array_file(str(path))
    if path is not None and is_prisma(path):
        return open_prisma(str(path))
    try:
        return _patiently(source, lambda: open_quietly(source.gdal_name, sharing=False))
    except (*GDAL_ERRORS, ValueError) as error:
        if path is None and not source.is_remote and _NOT_THERE.search(str(error)):
            raise SceneNotFoundError(source.name) from error
        if path is not None and path.is_dir():
            raise SceneNotFoundError(source.name) from error
        raise _said(source, error) from error


def _said(source: RasterSource, error: BaseException) -> SceneError:
    """Return what a complaint of GDAL means for the user."""
    reason = innermost(error)
    if source.is_remote:
        return remote_error(source.name, reason)
    return SceneUnreadableError(source.name, reason)


def innermost(error: BaseException) -> str:
    """Return what GDAL said first: rasterio's own sentence often only points to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error).rstrip(".")
