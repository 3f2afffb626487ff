"""The folder of a training run: may it be written, resumed, and what it says of itself."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from rsmeta.config import dump_settings
from rsmeta.config.load import validate
from rsmeta.config.yaml_files import read_yaml
from rsmeta.errors import OutputError, RsmetaError, one_line
from rsmeta.files import write_atomically
from rsmeta.training.checkpoint_names import LAST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rsmeta.config.base import Strict

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.csv"
#: The choice of ``model: auto``, so that a resumed run does not make it again.
SELECTION_FILE = "selection.json"
#: What a run writes, besides its configuration and what only shows its progress.
RUN_FILES = (
    "bundle", "backbone.safetensors", "checkpoints", "plots", METRICS_FILE, HISTORY_FILE,
    "model.txt", SELECTION_FILE,
    "gamma_history.csv",
)  # fmt: skip

#: Settings that end a run: if they change, a finished run continues from its checkpoints.
LENGTH = ("max_epochs", "max_steps", "max_minutes", "early_stopping")

#: Settings that may differ when a run is resumed: how long, where and how fast it runs.
_MAY_CHANGE = {
    "trainer": {"max_epochs", "max_steps", "max_minutes", "accelerator", "devices", "num_nodes",
                "strategy", "log_every_n_steps", "early_stopping", "compile", "baseline",
                "keep_checkpoints"},
    "data": {"root", "workers", "cache"},
    "predict": None,
}  # fmt: skip


def check_run(output: Path, settings: Strict, *, resume: bool) -> None:
    """Check that the run can be written; nothing is written yet.

    Raises:
        OutputError: The folder holds a run and ``resume`` is not asked for, holds the run of
            another configuration, or cannot be written.
    """
    file = output / CONFIG_FILE
    if file.exists() and not resume:
        raise OutputError(f"{output} holds a run already; resume it with --resume, or name another")
    if file.exists():
        before = validate(type(settings), read_yaml(file), str(file))
        changed = _changed(_uncoloured(before), _uncoloured(settings))
        if changed:
            raise OutputError(
                f"{output} holds a run with another {changed[0]}; resume it with its own "
                f"configuration, or name another folder"
            )
        _check_can_continue(output, before, settings)
    elif own := [name for name in RUN_FILES if (output / name).exists()]:
        raise OutputError(
            f"{output / own[0]} exists and belongs to no run that can be resumed; choose another "
            f"folder"
        )
    elif resume:
        logger.info("nothing to resume in %s; starting from the beginning", output)
    there = next(place for place in (output, *output.absolute().parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        kind = "cannot be written" if there.is_dir() else "is a file"
        raise OutputError(f"cannot make a run in {output}: {there} {kind}; name another folder")


def is_finished(output: Path) -> bool:
    """Whether a folder holds a finished run that keeps no checkpoints to continue from."""
    made = (output / name for name in ("bundle", "backbone.safetensors"))
    last = output / "checkpoints" / LAST
    return (output / METRICS_FILE).exists() and any(p.exists() for p in made) and not last.exists()


def _check_can_continue(output: Path, before: Any, settings: Any) -> None:
    """Refuse to lengthen a finished run that keeps no checkpoints."""
    longer = [k for k in LENGTH if getattr(before.trainer, k) != getattr(settings.trainer, k)]
    if longer and is_finished(output):
        raise OutputError(
            f"{output} is finished and keeps no checkpoints, so trainer.{longer[0]} cannot change; "
            f"train a new run, which can start from this one (model.checkpoint={output}); "
            f"trainer.keep_checkpoints=true keeps them"
        )


@contextlib.contextmanager
def begun(output: Path, settings: Strict) -> Iterator[None]:
    """Make the run folder with its resolved configuration, as long as there is a run to hold.

    A run that fails before its first checkpoint leaves no configuration, so that it can be
    corrected and started again under the same name.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {output} ({one_line(error)})") from error
    write_text(output / CONFIG_FILE, dump_settings(settings))
    try:
        yield
    except RsmetaError:
        if not (output / "checkpoints").exists():
            for name in (CONFIG_FILE, HISTORY_FILE, SELECTION_FILE):
                (output / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else lies in it: it stays
                output.rmdir()
        raise


def _uncoloured(settings: Strict) -> dict[str, Any]:
    """Return settings as a tree without colours of classes, which change no weight."""
    tree = settings.model_dump(mode="json")
    for spec in tree.get("data", {}).get("classes") or ():
        spec.pop("colour", None)
    return tree


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys that a resumed run may not change, and that differ."""
    changed = []
    for section, value in now.items():
        free = _MAY_CHANGE.get(section, set())
        if free is None:
            continue
        if not isinstance(value, dict):
            changed += [section] * (before.get(section) != value)
            continue
        old = before.get(section) or {}
        keys = sorted(value.keys() | old.keys())
        changed += [
            f"{section}.{k}"
            for k in keys
            if k not in free and repr(old.get(k)) != repr(value.get(k))
        ]
    return changed


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with write_atomically(path) as hidden:
            hidden.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path} ({one_line(error)})") from error
