"""The training step: augment, then the same network as in prediction, loss over labelled pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule

from rsmeta.data.augment import Augment
from rsmeta.errors import TrainingError
from rsmeta.training.callbacks import COLUMNS
from rsmeta.training.optimizers import build_optimizer, parameter_groups
from rsmeta.training.seeding import seed_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from rsmeta.config import Settings
    from rsmeta.metrics import SegmentationMetrics
    from rsmeta.models.network import Network


class SegmentationModule(LightningModule):
    """Trains a network on chips.

    Args:
        network: What is trained; frozen parameters are neither stepped nor checkpointed twice.
        loss: ``loss(logits (B, K, H, W), target (B, H, W)) -> scalar``, -1 in the target ignored.
        metrics: Gathers predictions of validation and test chips.
        settings: Optimizer, augmentation and seed.
    """

    #: Columns of history.csv.
    columns = COLUMNS

    def __init__(
        self, network: Network, loss: nn.Module, metrics: SegmentationMetrics, settings: Settings
    ) -> None:
        super().__init__()
        self.network = network
        # A function, not a module, so that nothing is registered twice.
        self.score: Callable[[Tensor, Tensor], Tensor] = (
            torch.compile(network.forward) if settings.trainer.compile else network.__call__
        )
        self.loss = loss
        self.metrics = metrics
        self.settings = settings
        self.augment = Augment(settings.data.augment)
        # Checkpoints hold what is trained only; ``on_load_checkpoint`` checks them, strictly.
        self.strict_loading = False
        if settings.meta.strategy == "joint":
            for rho in network.scale_parameters():
                rho.requires_grad_(True)

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
        image, valid, mask = self.augment(batch["image"], batch["valid"], batch["mask"])
        loss: Tensor = self.loss(self.score(image, valid), mask)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.global_step}; lower "
                f"trainer.optimizer.lr (now {self.settings.trainer.optimizer.lr:g}) or use "
                f"trainer.precision=32-true"
            )
        self.log(
            "train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(mask)
        )
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=len(mask))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Gather loss and predictions of one batch."""
        self._evaluate(batch, "validation")

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Gather loss and predictions of one batch."""
        self._evaluate(batch, "test")

    def _evaluate(self, batch: dict[str, Tensor], part: str) -> None:
        logits = self.score(batch["image"], batch["valid"])
        labelled = int((batch["mask"] >= 0).sum())
        loss = self.loss(logits, batch["mask"])
        self.log(f"{part}/loss", loss, batch_size=max(labelled, 1), sync_dist=True)
        self.metrics.update(logits.argmax(dim=1), batch["mask"])

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self.metrics.reset()

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self.metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, mIoU and macro-F1 over all validation chips."""
        self._log_metrics("validation")

    def on_test_epoch_end(self) -> None:
        """Log accuracy, mIoU and macro-F1 over all test chips."""
        self._log_metrics("test")

    def _log_metrics(self, part: str) -> None:
        result = self.metrics.compute()
        for name in ("accuracy", "miou", "macro_f1"):
            value = getattr(result, name)
            # Counts are summed over processes already; logging must not average them again.
            self.log(
                f"{part}/{name}", math.nan if value is None else value, prog_bar=name == "miou"
            )

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
        steps = int(self.trainer.estimated_stepping_batches)
        meta, optimizer = self.settings.meta, self.settings.trainer.optimizer
        groups = parameter_groups(self.network, optimizer)
        if meta.strategy == "joint":  # else this optimizer never holds the scales
            scales = self.network.scale_parameters()
            groups.append({"params": scales, "weight_decay": 0.0, "lr": meta.lr})
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
