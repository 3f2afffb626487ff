"""Checkpoints of a run: whole or not there, found wherever the run's folder lies now."""

from __future__ import annotations

import logging
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from rsmeta.errors import OutputError, TrainingError, one_line
from rsmeta.files import write_atomically
from rsmeta.training.checkpoint_names import BEST, LAST

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer

    from rsmeta.config import Settings
    from rsmeta.config.pretrain import PretrainSettings

logger = logging.getLogger(__name__)


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there: a kill while one is written harms none."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write beside the file, then rename into place.

        Raises:
            OutputError: The file cannot be written.
        """
        try:
            with write_atomically(Path(path)) as hidden:
                super().save_checkpoint(checkpoint, hidden, storage_options)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
            raise OutputError(
                f"cannot write the checkpoint {path} ({one_line(error)[:160]}); free some space, "
                f"then continue with --resume"
            ) from error


class _RunCheckpoint(ModelCheckpoint):
    """A checkpoint whose state names no folder: runs may be moved, renamed and copied."""

    def __init__(self, folder: Path, name: str, **options: Any) -> None:
        super().__init__(
            folder, filename=name.removesuffix(".ckpt"), save_top_k=1,
            enable_version_counter=False, **options,
        )  # fmt: skip
        self.path = folder / name

    @property
    def state_key(self) -> str:
        """Name of the state within checkpoints."""
        return type(self).__name__

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint, with the file's path as it is now."""
        if not state_dict["best_model_path"]:
            return
        name = PureWindowsPath(state_dict["best_model_path"]).name  # reads both kinds of slashes
        path = str(self.path.with_name(name))
        if not Path(path).exists():
            logger.warning(
                "%s is missing: its weights are lost, and the best of what follows is kept", path
            )
            return
        score = next(iter(state_dict["best_k_models"].values()), state_dict["best_model_score"])
        super().load_state_dict(
            {**state_dict, "dirpath": self.dirpath, "best_model_path": path, "last_model_path": "",
             "kth_best_model_path": path, "best_k_models": {path: score}}
        )  # fmt: skip


class BestCheckpoint(_RunCheckpoint):
    """The weights with the best validation score.

    Args:
        folder: Where it is kept.
        monitor: Name of the score.
        mode: ``min`` or ``max``: which score is best.
    """

    def __init__(self, folder: Path, *, monitor: str, mode: str) -> None:
        super().__init__(folder, BEST, monitor=monitor, mode=mode)


class LastCheckpoint(_RunCheckpoint):
    """The state after the last whole epoch.

    An epoch that ``max_steps`` cuts short is done again when the run is resumed with more steps:
    the chips of an epoch are drawn together, so that this equals a run without the stop.

    Args:
        folder: Where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LAST, monitor=None, every_n_epochs=1, save_on_train_epoch_end=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state, unless the epoch was cut short.

        Raises:
            TrainingError: A weight is not finite.
        """
        check_weights(pl_module)
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


def check_weights(module: LightningModule) -> None:
    """Refuse trained weights that are not finite.

    Raises:
        TrainingError: There is one.
    """
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise diverged(module, f"the weight {name} is not finite")


def diverged(module: LightningModule, what: str) -> TrainingError:
    """Return the error of a training that diverged."""
    settings: Settings | PretrainSettings = module.settings  # type: ignore[assignment]  # ours all
    return TrainingError(
        f"training diverged: {what} at step {module.global_step}; lower trainer.optimizer.lr "
        f"(now {settings.trainer.optimizer.lr:g}) or use trainer.precision=32-true"
    )


def read_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Read a checkpoint of a run.

    Args:
        path: The file.
        remedy: What to do if it is damaged.

    Raises:
        TrainingError: It is damaged, or no checkpoint of a run.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make torch raise anything
        reason = one_line(error)[:120] or type(error).__name__
        raise TrainingError(f"{path} is damaged ({reason}); {remedy}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "epoch"} <= checkpoint.keys():
        raise TrainingError(f"{path} is not a checkpoint of a training run; {remedy}")
    return checkpoint
