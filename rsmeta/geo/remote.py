"""Rasters behind a network: how GDAL is told to read them, and what its complaints mean."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import rasterio
from rasterio.env import get_gdal_config

from rsmeta.errors import SceneNotFoundError, SceneUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.errors import SceneError

#: Schemes of object stores and GDAL's names for them. rasterio would ask boto3 for credentials
#: and set them over those that the user gave GDAL.
_STORES = {"s3": "/vsis3/", "gs": "/vsigs/", "gcs": "/vsigs/", "az": "/vsiaz/", "oss": "/vsioss/"}
_REMOTE = re.compile(
    r"(?:https?|ftp|s3|gs|gcs|az|oss)://|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs)\b", re.I
)

#: What GDAL is told for files behind a network, unless the user told it something else.
DEFAULTS: dict[str, str] = {
    # Nobody is asked which other files lie beside one.
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
    (r"timed? ?out|too slow", "the server does not answer in time; try again later"),
    (
        r"failed to connect|could not connect|couldn't connect|connection refused|network is",
        "no connection to the server ({said}); check the address and the network",
    ),
    (r"response code: (?:429|5\d\d)", "the server refuses for now ({said}); try again later"),
    (r"response code: \d+|CURL error|SSL|TLS", "{said}; check the address"),
)
_GONE = re.compile(r"response code: (?:404|410)|NoSuchKey|NoSuchBucket|does not exist", re.I)


def is_remote(source: str) -> bool:
    """Return whether a source, or what a VRT in its text shows, lies behind a network."""
    if source.lstrip().startswith("<"):
        return _REMOTE.search(source) is not None
    return _REMOTE.match(source) is not None


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
    parts = urlsplit(source)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", parts.fragment))


@contextmanager
def remote_options(source: str) -> Iterator[None]:
    """Hold GDAL's options for a source, in this thread; none for local files."""
    if not is_remote(source):
        yield
        return
    with rasterio.Env(**_missing(DEFAULTS | _endpoint())):
        yield


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
    broken = f"reading failed ({said}); is it complete? A map that was begun goes on with --resume"
    return SceneUnreachableError(without_query(source), broken)


def _missing(options: dict[str, str]) -> dict[str, Any]:
    """Return the options that the user has set neither in the environment nor in the program."""
    return {k: v for k, v in options.items() if get_gdal_config(k) is None}


def _endpoint() -> dict[str, str]:
    """Return GDAL's words for the endpoint that AWS's own tools are told of."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url or get_gdal_config("AWS_S3_ENDPOINT") is not None:
        return {}
    parts = urlsplit(url)
    secure = "NO" if parts.scheme == "http" else "YES"
    place = (parts.netloc or parts.path) + (parts.path.rstrip("/") if parts.netloc else "")
    return {"AWS_S3_ENDPOINT": place, "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": "FALSE"}
