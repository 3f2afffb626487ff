"""Find the bundle folder that a user means: the folder itself, its run, or a name on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import BundleError, CheckpointError
from rsmeta.models.weights.hub import (
    DEFAULT_FILES,
    HUB_PREFIX,
    HubName,
    fetch_from_hub,
    parse_hub_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD_FILE = "bundle.yaml"
WEIGHTS_FILE = "weights.safetensors"


def bundle_folder(source: str | Path) -> Path:
    """Return the folder of a bundle.

    Args:
        source: A bundle folder; the folder of a run, which holds one; or
            ``hf:owner/name[@revision]``, which is fetched into the hub's cache once.

    Raises:
        BundleError: A hub name that is none, holds no bundle, or is unavailable now.
    """
    if is_on_hub(source):
        return _fetched(str(source))
    folder = Path(source)
    inner = folder / "bundle"
    in_run = not (folder / RECORD_FILE).exists() and (inner / RECORD_FILE).exists()
    return inner if in_run else folder


def is_on_hub(source: str | Path) -> bool:
    """Whether a source is a name on the hub; a path of that form wins if it exists."""
    return str(source).startswith(HUB_PREFIX) and not Path(source).exists()


def hub_repository(source: str, files: Sequence[str] = (RECORD_FILE,)) -> HubName:
    """Take the name of a bundle on the hub apart.

    Raises:
        BundleError: It is not ``hf:owner/name`` or ``hf:owner/name@revision``.
    """
    try:
        name = parse_hub_name(source, files)
    except CheckpointError:
        name = None
    if name is None or name.files != tuple(files):
        raise BundleError(
            f"{source} is no bundle on the hub; write hf:owner/name or hf:owner/name@revision"
        )
    return name


def published_bundle(source: str) -> Path | None:
    """Return the folder of a hub name that may mean weights as well as a bundle; none: weights."""
    name = parse_hub_name(source, (RECORD_FILE,))
    known = any(name.place(file).is_file() for file in DEFAULT_FILES)
    if known or name.files != (RECORD_FILE,):
        return None
    try:
        fetch_from_hub(source, name.files)
    except CheckpointError:  # no bundle, or unavailable: whatever loads the weights says so
        return None
    return _fetched(source)


def _fetched(source: str) -> Path:
    """Return the folder in the hub's cache that holds a bundle; both files of one commit."""
    name = hub_repository(source)
    otherwise = "give the folder of a copy of the bundle"
    try:
        folder = fetch_from_hub(source, (RECORD_FILE,), otherwise=otherwise).parent
        weights = f"{HUB_PREFIX}{name.repo}@{folder.name}/{WEIGHTS_FILE}"
        fetch_from_hub(weights, otherwise=otherwise)
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    return folder
