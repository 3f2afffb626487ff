"""Fetch weights from an https address into the cache, whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rsmeta.errors import CheckpointError, one_line
from rsmeta.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse
    from typing import BinaryIO

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30
_SAY_EVERY_S = 5.0

#: What a part of an address may consist of to become the name of a file or folder.
_PLAIN_NAME = re.compile(r"[\w.~%+=@-]+", re.ASCII)


def cache_place(address: str) -> Path:
    """Return where the file of an https address is kept, in torch's own cache.

    Addresses are mirrored there (``checkpoints/HOST/PATH``), so that files of one name from two
    places are not taken for each other.

    Raises:
        CheckpointError: It is no https address of a file.
    """
    parts = urlsplit(address)
    if parts.scheme != "https":
        raise CheckpointError(
            f"model.checkpoint={address} is not fetched: only https:// addresses are; download "
            f"the file yourself and set model.checkpoint= to it"
        )
    names = [name for name in parts.path.split("/") if name]
    plain = all(_PLAIN_NAME.fullmatch(name) and name not in (".", "..") for name in names)
    if not parts.hostname or "@" in parts.netloc or not names or not plain:
        raise CheckpointError(
            f"model.checkpoint={address} is no plain address of a file; download the file "
            f"yourself and set model.checkpoint= to it"
        )
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints" / parts.netloc.replace(":", "_").lower()
    if parts.query:  # the query may choose the file
        folder /= hashlib.sha256(parts.query.encode()).hexdigest()[:8]
    return folder.joinpath(*names)


def fetch_url(address: str, *, sha256: str | None = None) -> Path:
    """Return the file of an https address, from the cache or else from the network.

    Args:
        address: ``https://…``.
        sha256: What a fetched file's SHA-256 must be to enter the cache; none: any.

    Raises:
        CheckpointError: No such address, or the file is unavailable, incomplete or another one.
    """
    place = cache_place(address)
    if place.is_file():
        return place
    try:
        with write_atomically(place, shared=True) as partial:
            found = download(address, partial)
            if sha256 is not None and found != sha256.lower():
                raise CheckpointError(
                    f"{address} is not the file that was asked for (SHA-256 {found}, wanted "
                    f"{sha256.lower()}); check the address and model.checkpoint_sha256"
                )
    except OSError as error:  # no network, refused, a full disk: URLError is an OSError
        raise CheckpointError(
            f"cannot fetch {address} ({reason_of(error)}); download {place.name} from there "
            f"elsewhere and put it at {place}, or set model.checkpoint= to it"
        ) from error
    return place


def download(address: str, place: Path) -> str:
    """Write what an address holds to a file; return its SHA-256.

    Raises:
        OSError: It is unavailable or incomplete, or leads on to something that is not https.
    """
    logger.info("downloading %s", address)
    digest = hashlib.sha256()
    with _open(address) as response, place.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        for chunk in _chunks(response, address, total):
            digest.update(chunk)
            file.write(chunk)
        if total and file.tell() != total:
            raise OSError(f"the transfer broke after {file.tell():,} of {total:,} bytes")
    return digest.hexdigest()


def _chunks(response: BinaryIO, address: str, total: int) -> Iterator[bytes]:
    """Yield the content in pieces, and say now and then how far it is."""
    done, said = 0, time.monotonic()
    while chunk := response.read(_CHUNK_BYTES):
        done += len(chunk)
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            whole = f" of {total / 1e6:.0f}" if total else ""
            logger.info("%s: %.0f%s MB", address, done / 1e6, whole)
        yield chunk


class _HttpsOnly(HTTPRedirectHandler):
    """Follows a redirection to another https address and to nothing else."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            raise URLError(f"it leads on to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(address: str) -> HTTPResponse:
    opener = build_opener(_HttpsOnly())
    request = Request(address, headers={"User-Agent": "rsmeta"})
    try:
        response: HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()  # it is an open answer too
        raise
    return response


def reason_of(error: OSError) -> str:
    """Return in a few words why something could not be fetched."""
    if isinstance(error, HTTPError):
        return f"status {error.code} {error.reason}".strip()
    reason = error.reason if isinstance(error, URLError) else error
    return one_line(reason)[:160] or type(error).__name__
