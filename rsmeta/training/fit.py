"""Run Lightning's Trainer with checkpoints of what is trained, and resume from them."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from rsmeta.errors import TrainingError, one_line
from rsmeta.files import write_atomically
from rsmeta.training.callbacks import History
from rsmeta.training.meta import MetaStep, ScaleHistory
from rsmeta.training.module import TaskModule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.config.trainer import TrainerSettings
    from rsmeta.data.splits import Part
    from rsmeta.data.unlabelled_datamodule import UnlabelledDataModule
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.pretrain import PretrainModule

logger = logging.getLogger(__name__)

#: Name of the checkpoint that a run resumes from.
LAST = "last.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there: a kill while one is written harms none."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write beside the file, then rename into place."""
        with write_atomically(Path(path)) as hidden:
            super().save_checkpoint(checkpoint, hidden, storage_options)


@dataclass(frozen=True)
class FitResult:
    """How a training run ended.

    Attributes:
        epochs: Finished epochs.
        steps: Optimizer steps.
        history: One row per epoch, as in history.csv.
        best_epoch: Epoch whose weights were kept, from 1; none: the last.
        scales: The course of the adapters' scales; none where they are fixed.
    """

    epochs: int
    steps: int
    history: tuple[dict[str, float], ...]
    best_epoch: int | None
    scales: ScaleHistory | None = None

    @property
    def train_loss(self) -> float | None:
        """Mean loss of the last epoch; none where no epoch came to its end."""
        return self.history[-1]["train_loss"] if self.history else None


def fit(
    module: TaskModule | PretrainModule,
    data: TrainingData | UnlabelledDataModule,
    *,
    output: Path,
    resume: bool = False,
    progress: bool = False,
) -> FitResult:
    """Train, and leave in the module the weights that the settings say to keep.

    Args:
        module: The module; its network, or autoencoder, is trained in place.
        data: Chips for training and, if there is such a part, validation.
        output: The run's folder; checkpoints, TensorBoard files and history.csv go there.
        resume: Go on from the last checkpoint, if there is one.
        progress: Draw a progress bar.

    Raises:
        TrainingError: The data hold no full batch, or input or loss became not finite.
    """
    settings = module.settings.trainer
    if not len(data.train_dataloader()):
        raise TrainingError(
            f"data.chips_per_epoch={data.settings.chips_per_epoch} is less than one batch of "
            f"data.batch_size={data.settings.batch_size}; raise the one or lower the other"
        )
    validates = data.validates
    history = History(output / "history.csv", module.columns)
    meta = _meta_callbacks(module, data, output)
    best = _best_checkpoint(output, module) if validates else None
    last = ModelCheckpoint(
        output / "checkpoints", filename="last", save_top_k=1, monitor=None,
        every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip
    with _quiet():
        # In this order: the last checkpoint holds what history and best are by then.
        callbacks = [*meta, history, *([best] if best else []), last]
        trainer = _trainer(settings, output, callbacks, progress)
        _extra_callbacks(trainer, module, validates)
        checkpoint = output / "checkpoints" / LAST
        start = str(checkpoint) if resume and checkpoint.exists() else None
        if start:
            logger.info("resuming from %s", checkpoint)
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # one process goes on alone
    kept = best.best_model_path if best and settings.keep == "best" else ""
    best_epoch = _restore(module, kept) if kept else None
    scales = next((one for one in meta if isinstance(one, ScaleHistory)), None)
    return FitResult(
        len(history.rows), trainer.global_step, tuple(history.rows), best_epoch, scales
    )


def evaluate_part(module: TaskModule, data: TrainingData, *, part: Part = "test") -> Any:
    """Evaluate on all chips of a part; the result is in the metrics.

    Raises:
        SplitError: There is no such part.
    """
    loader = data.ordered_dataloader(part)
    with _quiet():
        trainer = Trainer(
            logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, devices=1, accelerator=module.settings.trainer.accelerator,
            precision=choose_precision(module.settings.trainer),
        )  # fmt: skip
        trainer.test(module, dataloaders=loader, verbose=False)
    return module.metrics.compute()  # type: ignore[operator]  # metrics have it


def choose_precision(settings: TrainerSettings) -> Any:
    """Return Lightning's precision: float32 on a CPU, where bfloat16 autocast is slow."""
    if settings.precision != "auto":
        return settings.precision
    on_gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu else "32-true"


def _trainer(
    settings: TrainerSettings, output: Path, callbacks: list[Callback], progress: bool
) -> Trainer:
    try:
        return _build_trainer(settings, output, callbacks, progress)
    except (MisconfigurationException, ValueError, ImportError) as error:
        raise TrainingError(
            f"cannot train with trainer.accelerator={settings.accelerator}, "
            f"devices={settings.devices}, strategy={settings.strategy} "
            f"({one_line(error)[:160]}); choose others"
        ) from error


def _build_trainer(
    settings: TrainerSettings, output: Path, callbacks: list[Callback], progress: bool
) -> Trainer:
    return Trainer(
        default_root_dir=output,
        max_epochs=settings.max_epochs,
        max_steps=settings.max_steps,
        precision=choose_precision(settings),
        accelerator=settings.accelerator,
        devices=list(settings.devices) if isinstance(settings.devices, tuple) else settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        accumulate_grad_batches=settings.accumulate_grad_batches,
        gradient_clip_val=settings.gradient_clip_val,
        check_val_every_n_epoch=settings.check_val_every_n_epoch,
        log_every_n_steps=settings.log_every_n_steps,
        deterministic=settings.deterministic,
        use_distributed_sampler=False,  # the samplers divide the chips themselves
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        logger=TensorBoardLogger(output, name="tensorboard", version=""),
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def _meta_callbacks(
    module: TaskModule | PretrainModule,
    data: TrainingData | UnlabelledDataModule,
    output: Path,
) -> list[Callback]:
    """Return what learns the scales and what records them; nothing where they are fixed."""
    if not isinstance(module, TaskModule) or not module.settings.meta.learned:
        return []
    data = cast("TrainingData", data)
    history = ScaleHistory(output / "gamma_history.csv")
    joint = module.settings.meta.strategy == "joint"
    return [history] if joint else [MetaStep(data), history]


def _best_checkpoint(output: Path, module: TaskModule | PretrainModule) -> ModelCheckpoint:
    monitor, mode = _monitored(module)
    return ModelCheckpoint(
        output / "checkpoints", filename="best", monitor=monitor, mode=mode,
        save_top_k=1, enable_version_counter=False,
    )  # fmt: skip


def _monitored(module: TaskModule | PretrainModule) -> tuple[str, str]:
    """Return the score that decides which weights are best, and whether more or less of it is."""
    assert isinstance(module, TaskModule)  # nothing else is validated
    return module.task.monitor, "min" if module.task.less_is_better else "max"


def _extra_callbacks(
    trainer: Trainer, module: TaskModule | PretrainModule, validates: bool
) -> None:
    settings = module.settings.trainer
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    if settings.max_minutes is not None:
        callbacks.insert(0, Timer(timedelta(minutes=settings.max_minutes), interval="epoch"))
    if settings.early_stopping is not None and validates:
        monitor, mode = _monitored(module)
        stop = EarlyStopping(monitor, mode=mode, patience=settings.early_stopping)
        callbacks.insert(0, stop)


def _restore(module: TaskModule | PretrainModule, path: str) -> int | None:
    """Load the kept weights; return the epoch that they are of."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"cannot read the checkpoint {path} ({one_line(error)})") from error
    module.load_trained_state(checkpoint["state_dict"])
    return int(checkpoint["epoch"]) + 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's hints that are not for our users, and undo how it ends on Ctrl-C.

    Lightning ignores further interrupts and exits with status 1 without a word.
    """
    in_main = threading.current_thread() is threading.main_thread()
    on_interrupt = signal.getsignal(signal.SIGINT)
    chatter = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in chatter]
    for log in chatter:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        raise
    finally:
        if in_main and on_interrupt is not None:  # none: not set from Python
            signal.signal(signal.SIGINT, on_interrupt)
        for log, level in zip(chatter, levels, strict=True):
            log.setLevel(level)
