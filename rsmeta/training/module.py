"""The training step: augment, the same network as in prediction, loss over what is labelled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from lightning import LightningModule

from rsmeta.errors import TrainingError
from rsmeta.training.callbacks import TRAINING_COLUMNS
from rsmeta.training.checkpoints import diverged
from rsmeta.training.optimizers import build_optimizer, parameter_groups, total_steps
from rsmeta.training.seeding import seed_batch
from rsmeta.training.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

    from rsmeta.config import Settings
    from rsmeta.models.network import Network

    #: (rank, processes) -> scores (1, K, h, w) as ``Task.activate`` returns them, labels (1, h, w).
    MappedBlocks: TypeAlias = Callable[[int, int], Iterable[tuple[Tensor, Tensor]]]


class TaskModule(LightningModule):
    """Trains a network on chips or images, whatever the task.

    Args:
        network: What is trained; frozen parameters are neither stepped nor checkpointed twice.
        loss: ``loss(logits (B, K, …), target (B, …)) -> scalar``; what has no label is ignored.
        metrics: Gathers predictions of validation and test, as the task needs it.
        settings: Task, optimizer, augmentation and seed.

    Attributes:
        task: What is learned, and how it is scored.
        mapped: Yields what a map shows where validation labels are; none: chips are validated.
        columns: Columns of history.csv.
    """

    def __init__(
        self, network: Network, loss: nn.Module, metrics: nn.Module, settings: Settings
    ) -> None:
        super().__init__()
        self.step = Step(network, loss, settings)
        self.task = self.step.task
        self.columns = (*TRAINING_COLUMNS, *self.task.columns)
        self.network = network
        self.score = self.step.score
        self.loss = loss
        self.metrics = metrics
        self.settings = settings
        self.mapped: MappedBlocks | None = None
        # Checkpoints hold what is trained only; ``on_load_checkpoint`` checks them, strictly.
        self.strict_loading = False

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Seed augmentation and dropout by epoch and batch, so that resumed runs equal whole ones.

        By batch, because Lightning starts no epoch anew when it resumes at an epoch's end.
        """
        seed_batch(self.settings.seed, self.current_epoch, batch_index, self.global_rank)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of one batch.

        Raises:
            TrainingError: The input or the loss is not finite.
        """
        check_finite(batch["image"], self.global_step)
        drawn = self.step.changed(batch)
        loss = self.step.loss_of(drawn)
        if not torch.isfinite(loss):
            raise diverged(self, f"the loss is {loss.item()}")
        size = len(drawn["target"])
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=size)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=size)
        return loss

    def changed(self, batch: dict[str, Tensor], *, augment: bool = True) -> dict[str, Tensor]:
        """Return ``image``, ``valid`` and ``target`` of a batch, changed at random if asked."""
        return self.step.changed(batch, augment=augment)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Gather loss and predictions of one batch, or of the whole part as it is mapped."""
        if self.mapped is None:
            self._evaluate(batch, "validation")
        else:
            self._evaluate_maps(self.mapped)

    def _evaluate_maps(self, mapped: MappedBlocks) -> None:
        total, count = 0.0, 0
        for scores, labels in mapped(self.global_rank, self.trainer.world_size):
            meant, target = scores.to(self.device), labels.to(self.device)
            if (size := self.task.labelled(target)) == 0:
                continue
            self.task.count(self.metrics, meant, target)
            total += size * float(self.loss(self.task.logits(meant), target))
            count += size
        if not math.isfinite(total):
            raise diverged(self, f"the validation loss is {total}")
        size = max(count, 1)
        self.log("validation/loss", total / size, batch_size=size, sync_dist=True)

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Gather loss and predictions of one batch."""
        self._evaluate(batch, "test")

    def _evaluate(self, batch: dict[str, Tensor], part: str) -> None:
        logits, target = self.score(batch["image"], batch["valid"]), batch[self.task.target]
        size = max(self.task.labelled(target), 1)
        loss = self.loss(logits, target)
        if not torch.isfinite(loss):
            check_finite(batch["image"], self.global_step)
            raise diverged(self, f"the {part} loss is {loss.item()}")
        self.log(f"{part}/loss", loss, batch_size=size, sync_dist=True)
        self.task.count(self.metrics, logits, target)

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        if self.dtype == torch.bfloat16:  # too coarse for sums over many pixels
            self.metrics.to(torch.float32)
        self.metrics.reset()  # type: ignore[operator]  # metrics have it

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self.metrics.reset()  # type: ignore[operator]  # metrics have it

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the task over the validation part."""
        self._log_metrics("validation")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the task over the test part."""
        self._log_metrics("test")

    def _log_metrics(self, part: str) -> None:
        result = self.metrics.compute()  # type: ignore[operator]  # metrics have it
        for name in self.task.scores:
            value = getattr(result, name)
            # Counts are summed over processes already; logging must not average them again.
            self.log(
                f"{part}/{name}", math.nan if value is None else value,
                prog_bar=name == self.task.scores[0],
            )  # fmt: skip

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained: megabytes, not the frozen backbone."""
        checkpoint["state_dict"] = self.network.trained_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take what was trained, strictly."""
        self.load_trained_state(checkpoint["state_dict"])
        checkpoint["state_dict"] = {}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Load a checkpoint's tensors; missing or left-over ones are an error."""
        self.network.load_trained_state(state)

    def configure_optimizers(self) -> Any:
        """Return optimizer and learning-rate schedule of the settings."""
        steps = total_steps(self.trainer, self.settings.trainer)
        meta, trainer = self.settings.meta, self.settings.trainer
        chips = self.settings.data.batch_size * trainer.accumulate_grad_batches
        optimizer = trainer.optimizer.for_batch(chips * self.trainer.world_size)
        groups = parameter_groups(self.network, optimizer)
        if meta.strategy == "joint":  # else this optimizer never holds the scales
            scales = self.network.scale_parameters()
            groups.append({"params": scales, "weight_decay": 0.0, "lr": meta.options["lr"]})
        return build_optimizer(groups, optimizer, steps)


def check_finite(image: Tensor, step: int) -> None:
    """Refuse a batch with NaN or infinity, which no validity mask explains.

    Raises:
        TrainingError: There is one.
    """
    if not torch.isfinite(image).all():
        raise TrainingError(
            f"a chip of step {step} holds values that are not finite; name the value that marks "
            f"missing data with data.nodata=..."
        )
