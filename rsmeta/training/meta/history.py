"""The course of the scales: ``gamma_history.csv``, and TensorBoard during the run."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from rsmeta.files import write_atomically
from rsmeta.peft import site_modulators

if TYPE_CHECKING:
    from pathlib import Path

    from lightning import Trainer

    from rsmeta.peft import Modulator
    from rsmeta.training.module import TaskModule


#: Records of a run, at most; more would cost time, and show nothing.
_RECORDS = 25


class ScaleHistory(Callback):
    """Records every site's scale at the start, after meta steps (in long runs some), and last.

    The rows are part of the checkpoint.

    Args:
        path: The CSV file (step, site, scale); rewritten whole, atomically, after each epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[int] = []
        #: For each step, the scale of every site in the order of ``sites``.
        self.scales: list[list[float]] = []
        self.sites: list[str] = []
        self._modulators: list[Modulator] = []

    @property
    def first(self) -> int:
        """Index of the scales that the first step is taken with; those before were replaced."""
        return self.steps.count(self.steps[0]) - 1

    def on_fit_start(self, trainer: Trainer, module: TaskModule) -> None:  # type: ignore[override]  # our module
        """Record the scales that the settings give."""
        found = site_modulators(module.network.backbone)
        self.sites, self._modulators = list(found), list(found.values())
        if not self.steps:
            self._record(trainer)

    def on_train_start(self, trainer: Trainer, module: TaskModule) -> None:  # type: ignore[override]  # our module
        """Record the scales that the first step is taken with, if trials have changed them."""
        if trainer.global_step == 0 and self.scales[-1] != self._now():
            self._record(trainer)

    def on_train_batch_end(self, trainer: Trainer, module: TaskModule, *_: Any) -> None:  # type: ignore[override]  # our module
        """Record the scales after a meta step."""
        step = trainer.global_step
        if step == self.steps[-1] or not module.settings.meta.due(step):
            return
        apart = int(trainer.estimated_stepping_batches) // _RECORDS
        if step - self.steps[-1] >= apart:
            self._record(trainer)

    def on_train_end(self, trainer: Trainer, module: TaskModule) -> None:  # type: ignore[override]  # our module
        """Record the final scales, and write the file."""
        if self.steps and self._now() != self.scales[-1]:
            self._record(trainer)
            if trainer.is_global_zero:
                self._write()

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        """Write the file."""
        if trainer.is_global_zero:
            self._write()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, for the checkpoint."""
        return {"steps": list(self.steps), "scales": [list(row) for row in self.scales]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the rows of a checkpoint."""
        self.steps, self.scales = list(state["steps"]), [list(row) for row in state["scales"]]

    def _now(self) -> list[float]:
        return [modulator.mean() for modulator in self._modulators]

    def _record(self, trainer: Trainer) -> None:
        scales = self._now()
        self.steps.append(trainer.global_step)
        self.scales.append(scales)
        for logger in trainer.loggers:
            named = {f"scale/{site}": scale for site, scale in zip(self.sites, scales, strict=True)}
            logger.log_metrics(named, trainer.global_step)
            if isinstance(logger, TensorBoardLogger):
                values = torch.tensor(scales)
                logger.experiment.add_histogram("scales", values, trainer.global_step)

    def _write(self) -> None:
        with (
            write_atomically(self.path) as hidden,
            hidden.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(("step", "site", "scale"))
            for step, row in zip(self.steps, self.scales, strict=True):
                writer.writerows(
                    (step, site, scale) for site, scale in zip(self.sites, row, strict=True)
                )
