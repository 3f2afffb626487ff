"""Turn a source of weights (file, https address, hub name) into a local file with its SHA-256."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import CheckpointError
from rsmeta.files import file_sha256
from rsmeta.models.weights.download import fetch_url
from rsmeta.models.weights.hub import DEFAULT_FILES, HUB_PREFIX, fetch_from_hub

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalWeights:
    """Weights as a file on this machine.

    Args:
        path: The file.
        source: Where it came from, as it was named: a path, an address or a hub name.
        sha256: Of the file, hexadecimal.
    """

    path: Path
    source: str
    sha256: str


def is_local(source: str) -> bool:
    """Whether a source is a path on this machine."""
    return "://" not in source and not source.startswith(HUB_PREFIX)


def locate_weights(
    source: str, *, sha256: str | None = None, files: Sequence[str] = DEFAULT_FILES
) -> LocalWeights:
    """Return weights as a local file, from the cache or the network where they are not local.

    Args:
        source: A path; an ``https://`` address; or ``hf:owner/name[@revision][/file]``.
        sha256: What the file's SHA-256 must be; none: any.
        files: What to look for on the hub where ``source`` names no file, in this order.

    Raises:
        CheckpointError: There is no such file, it cannot be fetched now, or it is another one.
    """
    if source.startswith(HUB_PREFIX):
        path = fetch_from_hub(source, files)
    elif "://" in source:
        path = fetch_url(source, sha256=sha256)
    else:
        path = Path(source)
        if path.is_dir():
            raise CheckpointError(
                f"model.checkpoint={path} is a folder; only rsmeta train takes a run, for a single "
                f"model: name a weights file here"
            )
        if not path.is_file():
            raise CheckpointError(f"no checkpoint at {path}; check model.checkpoint")
    found = file_sha256(path)
    if sha256 is not None and found != sha256.lower():
        mend = "put the right file there" if is_local(source) else "remove that file to fetch anew"
        raise CheckpointError(
            f"{path} is not the file that was asked for (SHA-256 {found}, wanted "
            f"{sha256.lower()}); {mend}, or check model.checkpoint_sha256"
        )
    logger.debug("%s: SHA-256 %s", source, found)
    return LocalWeights(path, source, found)
