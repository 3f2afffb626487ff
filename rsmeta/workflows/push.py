"""Publish a bundle on the Hugging Face hub, with a model card made from it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rsmeta.bundle.bundle import MODEL_ITEM_FILE, QUICKLOOK_FILE, load_bundle, read_record
from rsmeta.bundle.find import RECORD_FILE, WEIGHTS_FILE, bundle_folder, hub_repository, is_on_hub
from rsmeta.config.yaml_files import read_yaml
from rsmeta.errors import BundleError, MissingExtraError, OutputError, one_line
from rsmeta.models.weights import is_local
from rsmeta.workflows.model_card import model_card
from rsmeta.workflows.run_folder import CONFIG_FILE

CARD_FILE = "README.md"


def push(
    bundle: str | Path, target: str, *, private: bool = False, licence: str | None = None
) -> str:
    """Upload a bundle to the hub; the repository is created if needed, its model card replaced.

    Args:
        bundle: A bundle folder or a run.
        target: ``hf:owner/name``.
        private: Create the repository as a private one.
        licence: SPDX identifier of the licence that the model is published under; none: that of
            its backbone.

    Returns:
        The address of the uploaded version.

    Raises:
        BundleError: The bundle cannot be loaded, or needs a file that would not be uploaded.
        OutputError: The target is no hub name, or the hub refuses or is unavailable.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    repo = _repository(target)
    with tempfile.TemporaryDirectory() as folder:
        _gather(bundle_folder(bundle), Path(folder), repo, licence)
        api = HfApi(library_name="rsmeta")
        try:
            api.create_repo(repo_id=repo, private=private or None, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message="Upload a bundle of rsmeta"
            )
        except Exception as error:  # the hub's client raises errors of several libraries
            reason = one_line(error)[:200] or type(error).__name__
            raise OutputError(
                f"cannot push to {target} ({reason}); check the name, and log in with: "
                f"hf auth login"
            ) from error
    return str(getattr(done, "commit_url", done))


def card(bundle: str | Path, target: str, *, licence: str | None = None) -> str:
    """Return the model card that ``push`` would upload.

    Raises:
        RsmetaError: As ``push``; nothing is asked of the hub.
    """
    return _card(bundle_folder(bundle), _repository(target), licence)


def _repository(target: str) -> str:
    with contextlib.suppress(BundleError):
        if is_on_hub(target) and "@" not in target:
            return hub_repository(target).repo
    raise OutputError(f"cannot push to {target}; write hf:owner/name")


def _gather(source: Path, folder: Path, repo: str, licence: str | None) -> None:
    """Copy what is published into one folder, and write the card beside it."""
    checked = load_bundle(source).record  # nothing damaged is published
    for checkpoint in checked.model.checkpoints:
        if is_local(checkpoint):
            raise BundleError(
                f"{source} needs the backbone weights {checkpoint}, which are not published with "
                f"it; push a whole model: rsmeta export --model {source} --format merged OUT"
            )
    for name in (RECORD_FILE, WEIGHTS_FILE, MODEL_ITEM_FILE, QUICKLOOK_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    text = _card(source, repo, licence)
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def _card(source: Path, repo: str, licence: str | None) -> str:
    return model_card(read_record(source), repo, split=_split(source.parent), licence=licence)


def _split(run: Path) -> dict[str, Any] | None:
    """Return the split of a bundle's run; none where it lies elsewhere."""
    file = run / CONFIG_FILE
    tree = read_yaml(file) if file.is_file() else None
    data = tree.get("data") if isinstance(tree, dict) else None
    split = data.get("split") if isinstance(data, dict) else None
    return split if isinstance(split, dict) else None
