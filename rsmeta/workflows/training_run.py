"""What training and pretraining have in common: one run, from its checks to its final numbers."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import seed_everything
from lightning.pytorch.utilities import rank_zero_only

from rsmeta._version import __version__
from rsmeta.errors import counted, optional
from rsmeta.training.checkpoint_names import BEST, LAST
from rsmeta.training.fit import FitResult, fit
from rsmeta.training.solve import solve_head
from rsmeta.workflows.auto import settle_model
from rsmeta.workflows.run_folder import METRICS_FILE, begun, check_run, is_finished, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure

    from rsmeta.config import Settings
    from rsmeta.config.pretrain import PretrainSettings
    from rsmeta.data.unlabelled_datamodule import UnlabelledDataModule
    from rsmeta.models.network import Network
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.module import TaskModule
    from rsmeta.training.pretrain import PretrainModule

logger = logging.getLogger(__name__)


class TrainingRun:
    """A run in its folder, seeded; its clock starts here.

    Where several processes train together, one leads: it alone writes the folder.

    Args:
        output: The run folder; nothing is written yet.
        settings: What the run does.
        resume: Continue the run that is in ``output``.

    Raises:
        OutputError: The folder holds a run already or another one, or cannot be written.
    """

    def __init__(
        self, output: str | Path, settings: Settings | PretrainSettings, *, resume: bool
    ) -> None:
        self.output = Path(output)
        self._settings = settings
        self._resume = resume
        self._leads = rank_zero_only.rank == 0  # type: ignore[attr-defined]
        if self._leads:
            check_run(self.output, settings, resume=resume)
        seed_everything(settings.seed, workers=True, verbose=False)
        self._started = time.monotonic()

    def fit(
        self,
        module: TaskModule | PretrainModule,
        data: TrainingData | UnlabelledDataModule,
        *,
        progress: bool,
    ) -> FitResult:
        """Train as ``training.fit`` does, and end the processes that only help.

        Args:
            module: What is trained.
            data: What it reads.
            progress: Draw a progress bar.
        """
        folder = begun(self.output, self._settings) if self._leads else contextlib.nullcontext()
        try:
            with folder:
                result = fit(
                    module, data, output=self.output, resume=self._resume, progress=progress
                )
        except (KeyboardInterrupt, SystemExit):
            after = "the last whole epoch" if self.resumable else "the beginning"
            logger.warning("interrupted; rsmeta continues from %s with --resume", after)
            raise
        if not self._leads:
            raise SystemExit(0)
        return result

    @property
    def resumable(self) -> bool:
        """Whether the folder holds a checkpoint to resume from."""
        return (self.output / "checkpoints" / LAST).exists()

    @property
    def finished(self) -> dict[str, Any] | None:
        """Numbers of the run in the folder, if it is to be resumed and nothing is left to do."""
        if not (self._resume and is_finished(self.output)):
            return None
        logger.info("%s is finished; there is nothing to resume", self.output)
        found: dict[str, Any] = json.loads((self.output / METRICS_FILE).read_text("utf-8"))
        return found

    @property
    def starts_anew(self) -> bool:
        """Whether the run begins with its first epoch."""
        return not (self._resume and self.resumable)

    def note(self, name: str, lines: Sequence[str]) -> None:
        """Write lines of text into the folder; a failure is a warning."""
        with optional(name):
            write_text(self.output / name, "\n".join(lines) + "\n")

    def draw(self, pictures: Callable[[], Mapping[str, Callable[[], Figure]]]) -> None:
        """Draw the pictures of the run; one that cannot be drawn is a warning.

        Args:
            pictures: Returns what draws each picture, by file name.
        """
        folder = self.output / "plots"
        with optional("the pictures of the run"):
            folder.mkdir(parents=True, exist_ok=True)
            for name, picture in pictures().items():
                with optional(f"the picture {name}"):
                    picture().savefig(folder / name, dpi=120)

    def settle(self, settings: Settings, data: TrainingData) -> tuple[Settings, dict[str, Any]]:
        """Choose what the model's settings leave open; see ``settle_model``."""
        if not settings.model.is_open:
            return settings, {}
        folder = begun(self.output, self._settings) if self._leads else contextlib.nullcontext()
        with folder:
            known = self._resume or not self._leads
            return settle_model(settings, data, self.output, known=known)

    def solve(self, network: Network, data: TrainingData) -> FitResult:
        """Solve for the weights of a head that needs no gradient steps.

        Args:
            network: Its head is a ``SolvedHead``.
            data: What it reads.
        """
        with begun(self.output, self._settings):
            started = time.monotonic()
            pixels = solve_head(network, data, seed=self._settings.seed)
            logger.info("solved on %s in %.1f s", counted(pixels, "labelled pixel"),
                        time.monotonic() - started)  # fmt: skip
        return FitResult(epochs=0, steps=0, history=(), best_epoch=None)

    def seconds(self) -> float:
        """Return how long the run has taken so far."""
        return round(time.monotonic() - self._started, 1)

    def finish(self, numbers: dict[str, Any]) -> None:
        """Write the final numbers, which say that the run is complete, and drop its checkpoints.

        Raises:
            OutputError: The numbers cannot be written.
        """
        write_text(self.output / METRICS_FILE, json.dumps(numbers, indent=2) + "\n")
        if self._settings.trainer.keep_checkpoints:
            return
        folder = self.output / "checkpoints"
        with contextlib.suppress(OSError):  # a file that stays harms nothing
            for name in (BEST, LAST):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def versions() -> dict[str, str]:
    """Return the versions that the numbers of a run depend on."""
    return {
        "rsmeta": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
