"""Run Lightning's Trainer: train, resume, evaluate."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import LightningDataModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from rsmeta.errors import TrainingError, one_line
from rsmeta.training.callbacks import History, StepLimit
from rsmeta.training.checkpoint_names import LAST
from rsmeta.training.checkpoints import (
    AtomicCheckpoints,
    BestCheckpoint,
    LastCheckpoint,
    check_weights,
    read_checkpoint,
)
from rsmeta.training.meta import MetaStep, ScaleHistory, TopSites
from rsmeta.training.module import TaskModule
from rsmeta.training.precision import choose_precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta.config.trainer import TrainerSettings
    from rsmeta.data.splits import Part
    from rsmeta.data.unlabelled_datamodule import UnlabelledDataModule
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.pretrain import PretrainModule

logger = logging.getLogger(__name__)

#: Steps without a better score before training stops, by default.
_LEAST_STEPS = 200


class _Loaders(LightningDataModule):
    """Training and validation batches, as Lightning asks for them.

    Args:
        data: What reads them; it may have no validation part.
    """

    def __init__(self, data: TrainingData | UnlabelledDataModule) -> None:
        super().__init__()
        for name in ("train_dataloader", "val_dataloader"):
            if hasattr(data, name):
                setattr(self, name, getattr(data, name))


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
        resume: Continue from the last checkpoint, if there is one.
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
    folder = output / "checkpoints"
    history = History(output / "history.csv", module.columns)
    scales = _meta_callbacks(module, data, output)
    best = BestCheckpoint(folder, **_monitored(module)) if data.validates else None
    # In this order: the last checkpoint holds what history and best are by then.
    callbacks = [
        StepLimit(settings.max_steps), *_stopping(module, data), *scales, history,
        *([best] if best else []), LastCheckpoint(folder),
    ]  # fmt: skip
    with _full_precision_after(module):
        with running():
            trainer = _trainer(settings, output, callbacks, progress)
            start = _resumed_from(folder / LAST) if resume else None
            trainer.fit(module, datamodule=_Loaders(data), ckpt_path=start, weights_only=True)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # one process continues alone
        kept = best.best_model_path if best and settings.keep == "best" else ""
        best_epoch = _restore(module, Path(kept)) if kept else None
    check_weights(module)
    noted = next((one for one in scales if isinstance(one, ScaleHistory)), None)
    return FitResult(len(history.rows), trainer.global_step, tuple(history.rows), best_epoch, noted)


def _resumed_from(checkpoint: Path) -> str | None:
    """Return the checkpoint to resume from, after a look into it; none: there is none."""
    if not checkpoint.exists():
        return None
    read_checkpoint(checkpoint, "delete it, and --resume starts this run from the beginning")
    logger.info("resuming from %s", checkpoint)
    return str(checkpoint)


@contextlib.contextmanager
def _full_precision_after(module: TaskModule | PretrainModule) -> Iterator[None]:
    """Return a module to float32 after training in another type.

    ``bf16-true`` turns everything into bfloat16, what is not trained too: frozen weights and the
    normalisation get their own values back.
    """
    before = {
        name: tensor.detach().cpu()
        for name, tensor in module.state_dict(keep_vars=True).items()
        if choose_precision(module.settings.trainer).endswith("-true")
        and not tensor.requires_grad
        and tensor.is_floating_point()
    }
    yield
    module.float()
    module.load_state_dict(before, strict=False)


def evaluate_part(module: TaskModule, data: TrainingData, *, part: Part = "test") -> Any:
    """Evaluate on all chips of a part; the result is in the metrics.

    Raises:
        SplitError: There is no such part.
    """
    loader = data.ordered_dataloader(part)
    with running():
        trainer = Trainer(
            logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, devices=1, accelerator=module.settings.trainer.accelerator,
            precision=choose_precision(module.settings.trainer, to_train=False),
        )  # fmt: skip
        trainer.test(module, dataloaders=loader, verbose=False)
    return module.metrics.compute()  # type: ignore[operator]  # metrics have it


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
    """Return what learns the scales, what records them, and what chooses sites to train."""
    if not isinstance(module, TaskModule):
        return []
    meta = module.settings.meta
    chosen: list[Callback] = [TopSites(meta.top_sites, meta.top_every)] if meta.top_sites else []
    if not meta.learned:
        return chosen
    data = cast("TrainingData", data)
    history = ScaleHistory(output / "gamma_history.csv")
    return [*chosen, *([] if meta.strategy == "joint" else [MetaStep(data)]), history]


def _monitored(module: TaskModule | PretrainModule) -> dict[str, Any]:
    """Return the score that decides which weights are best, and whether more or less of it is."""
    assert isinstance(module, TaskModule)  # nothing else is validated
    return {"monitor": module.task.monitor, "mode": "min" if module.task.less_is_better else "max"}


def _patience(settings: TrainerSettings, data: TrainingData | UnlabelledDataModule) -> int | None:
    """Return after how many validations without a better score training stops; none: it does not.

    By default they span some steps at least: the first epochs of few labels are short, and no
    network has learned anything by their end.
    """
    if settings.early_stopping != "auto" or settings.patience is None:
        return settings.patience
    batches = len(data.train_dataloader()) * settings.check_val_every_n_epoch
    steps = max(batches // settings.accumulate_grad_batches, 1)
    return max(settings.patience, math.ceil(_LEAST_STEPS / steps))


def _stopping(
    module: TaskModule | PretrainModule, data: TrainingData | UnlabelledDataModule
) -> list[Callback]:
    """Return what ends training before its last epoch."""
    settings = module.settings.trainer
    found: list[Callback] = []
    patience = _patience(settings, data)
    if patience is not None and data.validates:
        # A score that is undefined, because the part lacks a class, is no reason to stop; nor is
        # one that is missing after an epoch that max_steps cut short.
        found.append(
            EarlyStopping(**_monitored(module), patience=patience, check_finite=False, strict=False)
        )
    if settings.max_minutes is not None:
        found.append(Timer(timedelta(minutes=settings.max_minutes), interval="epoch"))
    return found


def _restore(module: TaskModule | PretrainModule, path: Path) -> int:
    """Load the kept weights; return the epoch that they are of."""
    checkpoint = read_checkpoint(path, "delete it, and --resume keeps the last weights instead")
    module.load_trained_state(checkpoint["state_dict"])
    return int(checkpoint["epoch"]) + 1


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Run Lightning: without its hints, and with Ctrl-C and SIGTERM as they are elsewhere.

    Lightning ends the process with status 1 on Ctrl-C, ignores it from then on, and ends with
    status 0 on SIGTERM.

    Raises:
        KeyboardInterrupt: On Ctrl-C.
        SystemExit: With status 143 on SIGTERM.
    """
    in_main = threading.current_thread() is threading.main_thread()
    on_interrupt = signal.getsignal(signal.SIGINT) if in_main else None
    chatter = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in chatter]
    for log in chatter:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if on_interrupt is not None:
            signal.signal(signal.SIGINT, on_interrupt)
        for log, level in zip(chatter, levels, strict=True):
            log.setLevel(level)
