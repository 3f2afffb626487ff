"""Fetch weights by their name on the Hugging Face hub, into that library's own cache."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import CheckpointError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

HUB_PREFIX = "hf:"

#: Files of weights that are looked for where none is named, in this order.
DEFAULT_FILES = ("model.safetensors", "pytorch_model.bin")

_WORD = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(rf"hf:(?P<repo>{_WORD}/{_WORD})(?:@(?P<revision>{_WORD}))?(?:/(?P<file>.+))?")


@dataclass(frozen=True)
class HubName:
    """A file, or the weights, of a repository on the hub.

    Args:
        repo: ``owner/name``.
        revision: Branch, tag or commit.
        files: Files to look for, in this order.
    """

    repo: str
    revision: str
    files: tuple[str, ...]

    def address(self, file: str) -> str:
        """Return where a browser finds a file."""
        return f"https://huggingface.co/{self.repo}/resolve/{self.revision}/{file}"

    def place(self, file: str) -> Path:
        """Return where the hub's cache looks for a file."""
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE) / f"models--{self.repo.replace('/', '--')}"
        known = folder / "refs" / self.revision  # says which commit a branch was at
        commit = known.read_text(encoding="utf-8").strip() if known.is_file() else self.revision
        return folder / "snapshots" / commit / file


def parse_hub_name(source: str, files: Sequence[str] = DEFAULT_FILES) -> HubName:
    """Take ``hf:owner/name[@revision][/file]`` apart; without a file, any of ``files`` will do.

    Raises:
        CheckpointError: It is not of that form, or leads out of the cache.
    """
    found = _NAME.fullmatch(source)
    file = found["file"] if found else None
    parts = (file or "plain").split("/")
    if found is None or any(not re.fullmatch(_WORD, part, re.ASCII) for part in parts):
        raise CheckpointError(
            f"model.checkpoint={source} is no hub name; write hf:owner/name, "
            f"hf:owner/name@revision or hf:owner/name/file.safetensors"
        )
    wanted = (file,) if file else tuple(files)
    return HubName(found["repo"], found["revision"] or "main", wanted)


def fetch_from_hub(
    source: str,
    files: Sequence[str] = DEFAULT_FILES,
    *,
    otherwise: str = "set model.checkpoint= to it",
) -> Path:
    """Return the file of a hub name, from the hub's cache or else from the network.

    A file in the cache is taken without asking whether its branch has moved on since.

    Args:
        source: ``hf:owner/name[@revision][/file]``.
        files: What to look for where no file is named, in this order.
        otherwise: What else can be done with a file that was downloaded by hand.

    Raises:
        CheckpointError: The name is not one, or the file is unavailable now.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    name = parse_hub_name(source, files)
    for file in name.files:
        if name.place(file).is_file():
            return name.place(file)
    logger.info("fetching %s", source)
    missing: Exception | None = None
    for file in name.files:
        try:
            with _quiet():
                return Path(hf_hub_download(name.repo, file, revision=name.revision))
        except Exception as error:  # the hub's client raises errors of several libraries
            offline = isinstance(error, LocalEntryNotFoundError)  # other files would do no better
            if not isinstance(error, EntryNotFoundError) or offline:
                reason = one_line(error).partition(". ")[0][:160] or type(error).__name__
                raise CheckpointError(
                    f"cannot fetch {source} ({reason}); download {name.address(file)} elsewhere "
                    f"and put it at {name.place(file)}, or {otherwise}"
                ) from error
            missing = error
    raise CheckpointError(
        f"{source} has no file {' or '.join(name.files)}; name one of its files: "
        f"hf:{name.repo}/FILE"
    ) from missing


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client's warnings about each of its tries to itself: one error says it all."""
    theirs = logging.getLogger("huggingface_hub")
    level = theirs.level
    theirs.setLevel(logging.ERROR)
    try:
        yield
    finally:
        theirs.setLevel(level)
