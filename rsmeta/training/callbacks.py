"""What a run leaves behind while it goes: a line per epoch, and history.csv."""

from __future__ import annotations

import csv
import logging
import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from rsmeta.files import write_atomically
from rsmeta.training.duration import duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning import LightningModule, Trainer

logger = logging.getLogger(__name__)

#: Columns of every run; those of validation follow them.
TRAINING_COLUMNS = ("epoch", "step", "lr", "train_loss")

#: Steps, or seconds, after which the time of the whole training is estimated.
_TIMED_STEPS = 10
_TIMED_SECONDS = 10.0


class History(Callback):
    """Writes one row per epoch to ``history.csv``; the rows are part of the checkpoint.

    Args:
        path: The CSV file; rewritten whole, atomically, after each epoch.
        columns: Its columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = tuple(columns)
        self.rows: list[dict[str, float]] = []
        self._started = (0.0, 0)
        self._is_estimated = False

    def on_train_start(self, trainer: Trainer, _module: LightningModule) -> None:
        """Remember when the first step begins."""
        self._started = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Say after some steps how long training will take."""
        begun, first = self._started
        done = trainer.global_step - first
        timed = done >= _TIMED_STEPS or (done and time.monotonic() - begun > _TIMED_SECONDS)
        if timed and not self._is_estimated and trainer.is_global_zero:
            self._is_estimated = True
            logger.info("up to %s steps, %s", f"{_all_steps(trainer):,}", self._time_left(trainer))

    def _time_left(self, trainer: Trainer) -> str:
        begun, first = self._started
        each = (time.monotonic() - begun) / max(trainer.global_step - first, 1)
        seconds = each * max(_all_steps(trainer) - trainer.global_step, 0)
        return f"about {duration_text(seconds)} left"

    def on_train_epoch_end(self, trainer: Trainer, _module: LightningModule) -> None:
        """Add the epoch's row, once validation (which runs inside the epoch) is done."""
        if not trainer.is_global_zero or not trainer.is_last_batch:  # cut short by max_steps
            return
        known = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row["train_loss"] = known.get("train/loss_epoch", float("nan"))
        for name in self.columns[len(TRAINING_COLUMNS) :]:
            key = name.replace("_", "/", 1)
            if key in known:
                row[name] = known[key]
        self.rows.append(row)
        self._write()
        scores = [
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in row.items()
            if name not in ("epoch", "step", "lr")
        ]
        logger.info(
            "epoch %d/%s: %s, %s", row["epoch"], trainer.max_epochs, ", ".join(scores),
            self._time_left(trainer),
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, for the checkpoint."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows = [dict(row) for row in state["rows"]]

    def _write(self) -> None:
        with (
            write_atomically(self.path) as hidden,
            hidden.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)


class StepLimit(Callback):
    """Ends training after some steps.

    Lightning is told only when training starts: resuming a run that has a limit from the start, it
    would take the finished epoch for one to be continued, and lose an epoch's chips.

    Args:
        steps: Optimizer steps; -1: no limit.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: Trainer, _module: LightningModule) -> None:
        """Set the limit."""
        trainer.fit_loop.epoch_loop.max_steps = self.steps


def _all_steps(trainer: Trainer) -> int:
    """Return the optimizer steps of the whole training."""
    return int(trainer.estimated_stepping_batches)
