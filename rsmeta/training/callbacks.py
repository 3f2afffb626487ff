"""What a run leaves behind while it goes: a line per epoch, and history.csv."""

from __future__ import annotations

import csv
import logging
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from rsmeta.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning import LightningModule, Trainer

logger = logging.getLogger(__name__)

#: Columns of every run; those of validation follow them.
TRAINING_COLUMNS = ("epoch", "step", "lr", "train_loss")


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

    def on_train_epoch_end(self, trainer: Trainer, _module: LightningModule) -> None:
        """Add the epoch's row, once validation (which runs inside the epoch) is done."""
        if not trainer.is_global_zero:
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
        logger.info(
            "epoch %d/%s  step %d  %s", row["epoch"], trainer.max_epochs, row["step"],
            "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("epoch", "step")),
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
