"""Calls on GDAL's file systems for which rasterio has no name, in the GDAL that rasterio uses.

Options that ``rasterio.Env`` holds in this thread apply to them.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from rasterio import _base

_Strings = ctypes.POINTER(ctypes.c_char_p)


def headers(name: str) -> dict[str, str]:
    """Ask a server for the headers of a file; their names are in lower case.

    Args:
        name: GDAL's name: /vsicurl/…, /vsis3/….

    Returns:
        The headers of its answer; none if it gives none.

    Source: ``VSIGetFileMetadata``, domain HEADERS.
    """
    found: dict[str, str] = {}
    ask, free = _call("VSIGetFileMetadata", _Strings), _call("CSLDestroy", None)
    lines = ask(name.encode(), b"HEADERS", None)
    if not lines:
        return found
    try:
        i = 0
        while (line := lines[i]) is not None:
            key, _, value = line.decode(errors="replace").partition("=")
            found[key.lower()] = value
            i += 1
    finally:
        free(lines)
    return found


def forget(name: str) -> None:
    """Make GDAL forget what it knows of a file behind a network.

    It keeps that a file is not there, and the half of a range that came before a server fell
    silent, and would take either for the truth when it is asked again.

    Source: ``VSICurlPartialClearCache``.
    """
    _call("VSICurlPartialClearCache", None)(name.encode())


def reset_error() -> None:
    """Clear GDAL's last error of this thread, which rasterio would raise for another file.

    Source: ``CPLErrorReset``.
    """
    _call("CPLErrorReset", None)()


@cache
def _call(name: str, result: Any) -> Any:
    # rasterio's own modules are linked to its GDAL, and a name is looked for there too.
    function = getattr(ctypes.CDLL(_base.__file__), name)
    function.restype = result
    if name == "VSIGetFileMetadata":
        function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    return function
