"""Rasters behind a network: GDAL's options for them, and what its errors mean."""

from __future__ import annotations

import logging
import os
import re
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import rasterio
from rasterio.env import get_gdal_config

from rsmeta.errors import SceneNotFoundError, SceneUnreachableError
from rsmeta.geo import vsi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.errors import SceneError

logger = logging.getLogger(__name__)

#: Schemes of object stores and GDAL's names for them. rasterio would ask boto3 for credentials
#: and set them over those that the user gave GDAL.
_STORES = {"s3": "/vsis3/", "gs": "/vsigs/", "gcs": "/vsigs/", "az": "/vsiaz/", "oss": "/vsioss/"}
_REMOTE = re.compile(
    r"(?:https?|ftp|s3|gs|gcs|az|oss)://|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs)\b", re.I
)

# Names of files behind a network in the text of a VRT.
_NAMES = re.compile(r"/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs)[^<\"]*", re.I)

#: The headers of an answer that change with a file.
_IDENTITY = {"size": "content-length", "ETag": "etag", "Last-Modified": "last-modified"}

#: How often more a file is read where its server has fallen silent: each time costs what
#: GDAL_HTTP_LOW_SPEED_TIME says.
_TRIES_AFTER_SILENCE = 2

#: GDAL's options for files behind a network; the user's own go first.
DEFAULTS: dict[str, str] = {
    # No listing of the files beside one.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # The first request brings the header of most files.
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MULTIPLEX": "YES",
    # After 429, 5xx and broken connections: 1, 2, 4, 8 s and a little by chance.
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    # Slow is not dead: given up is what brings less than 1 kB/s for half a minute.
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    # Neighbouring blocks share tiles of the file: what is kept of one row of blocks lasts for the
    # next (GDAL's 16 MB do not, and a scene is fetched 2.5 times). Only what one request brings
    # goes there; ranges asked for side by side do not (1.8 times). All threads share it, so
    # each handle needs no cache of its own (VSI_CACHE).
    "CPL_VSIL_CURL_CACHE_SIZE": "64000000",
    "GDAL_HTTP_MULTIRANGE": "SERIAL",
}

# (what GDAL says, what it means and what to do), first fit
_REASONS = (
    (
        r"response code: 40[13]|access ?denied|InvalidAccessKeyId|SignatureDoesNotMatch",
        "access is denied ({said}); check the credentials, and that they may read this",
    ),
    (
        r"AWS_SECRET_ACCESS_KEY and AWS_NO_SIGN_REQUEST|No valid AWS credentials"
        r"|OSS_SECRET|GS_SECRET|AZURE_",
        "there are no credentials; set those of the store (for S3 AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), or AWS_NO_SIGN_REQUEST=YES for public data",
    ),
    (r"could not resolve (?:host|proxy)", "{said}; check the address and the network"),
    (
        r"timed? ?out|too slow",
        "the server does not answer in time ({said}); try again later; --resume continues "
        "an interrupted map",
    ),
    (
        r"failed to connect|could not connect|couldn't connect|connection refused|network is",
        "no connection to the server ({said}); check the address and the network",
    ),
    (r"response code: (?:429|5\d\d)", "the server refuses for now ({said}); try again later"),
    (
        r"range downloading not supported|does not support range|accept-ranges",
        "the server does not send parts of files ({said}); download the file first",
    ),
    (r"response code: \d+|CURL error|SSL|TLS", "{said}; check the address"),
)
_GONE = re.compile(r"response code: (?:404|410)|NoSuchKey|NoSuchBucket|does not exist", re.I)


def is_remote(source: str) -> bool:
    """Return whether a source, or what a VRT in its text shows, lies behind a network."""
    if source.startswith("/vsi"):  # /vsizip//vsicurl/… too
        return _REMOTE.search(source) is not None
    text = _vrt_text(source)
    return (_REMOTE.match(source) if text is None else _REMOTE.search(text)) is not None


def gdal_name(source: str) -> str:
    """Return GDAL's name of an address: ``s3://bucket/key`` is ``/vsis3/bucket/key``."""
    scheme, _, rest = source.partition("://")
    if scheme.lower() in _STORES:
        return _STORES[scheme.lower()] + rest
    return f"/vsicurl/{source}" if scheme.lower() in ("http", "https", "ftp") else source


def without_query(source: str) -> str:
    """Return an address without user, password and query, which may hold secrets."""
    if "://" not in source or "\n" in source:
        return source
    prefix = "/vsicurl/" if source.startswith("/vsicurl/") else ""
    parts = urlsplit(source.removeprefix(prefix))
    host = parts.netloc.rpartition("@")[2]
    return prefix + urlunsplit((parts.scheme, host, parts.path, "", parts.fragment))


@contextmanager
def remote_options() -> Iterator[None]:
    """Hold GDAL's options for files behind a network, in this thread."""
    with rasterio.Env(**_missing(DEFAULTS | _endpoint())):
        yield


def forget(source: str) -> None:
    """Make GDAL forget what it has been sent of a source, so that it asks again."""
    text = _vrt_text(source)
    for name in {gdal_name(source)} if text is None else set(_NAMES.findall(text)):
        vsi.forget(name)


def may_pass(said: str) -> bool:
    """Return whether a complaint may be that a server fell silent in the middle of an answer.

    GDAL itself tries again after refusals and lost connections, not after silence; and what has
    come until then it takes for the file, which then seems to be broken.
    """
    if re.search("too slow", said):
        return True
    return not _GONE.search(said) and not any(re.search(p, said, re.I) for p, _ in _REASONS)


def tries_after_silence() -> int:
    """Return how often more a file is read; as its options say, which must be held."""
    allowed = get_gdal_config("GDAL_HTTP_MAX_RETRY")
    return min(_TRIES_AFTER_SILENCE, int(allowed or 0))


def remote_state(name: str) -> dict[str, str]:
    """Return the state of a file behind a network, to notice a change.

    Args:
        name: Its address, or GDAL's name of it.

    Returns:
        Its size in bytes, ETag and time of change as the server says them, where it does.
    """
    with remote_options():
        told = vsi.headers(gdal_name(name))
    state = {key: told[header] for key, header in _IDENTITY.items() if header in told}
    if not state:
        logger.info(
            "%s: the server sends neither size, ETag nor time; --resume cannot notice a change",
            without_query(name),
        )
    return state


def remote_error(source: str, said: str) -> SceneError:
    """Return what GDAL's complaint about a remote source means.

    Args:
        source: As the user knows it.
        said: What GDAL said.
    """
    if _GONE.search(said):
        return SceneNotFoundError(without_query(source))
    for pattern, meaning in _REASONS:
        if re.search(pattern, said, re.I):
            return SceneUnreachableError(without_query(source), meaning.format(said=said))
    broken = (
        f"reading failed ({said}); is it complete, and does the server send it to the end? "
        f"--resume continues an interrupted map"
    )
    return SceneUnreachableError(without_query(source), broken)


def _vrt_text(source: str) -> str | None:
    """Return the text of a VRT, given as such or by the path of its file; none of other sources."""
    if source.lstrip().startswith("<"):
        return source
    if not source.lower().endswith(".vrt"):
        return None
    try:
        return _text_of(source, Path(source).stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _text_of(path: str, _changed_ns: int) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _missing(options: dict[str, str]) -> dict[str, Any]:
    """Return the options that the user has set neither in the environment nor in the program."""
    return {k: v for k, v in options.items() if get_gdal_config(k) is None}


def _endpoint() -> dict[str, str]:
    """Return GDAL's options for the endpoint in the variables of AWS's own tools."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url or get_gdal_config("AWS_S3_ENDPOINT") is not None:
        return {}
    parts = urlsplit(url)
    secure = "NO" if parts.scheme == "http" else "YES"
    place = (parts.netloc or parts.path) + (parts.path.rstrip("/") if parts.netloc else "")
    return {"AWS_S3_ENDPOINT": place, "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": "FALSE"}
