"""The pretraining step: augment, normalise, hide, rebuild, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule

from rsmeta.data.augment import Augment
from rsmeta.training.callbacks import TRAINING_COLUMNS
from rsmeta.training.checkpoints import diverged
from rsmeta.training.module import check_finite
from rsmeta.training.optimizers import build_optimizer, plain_groups, total_steps
from rsmeta.training.seeding import seed_batch

if TYPE_CHECKING:
    from torch import Tensor

    from rsmeta.config.pretrain import PretrainSettings
    from rsmeta.models.prepare import Prepare
    from rsmeta.models.satmae.mae import GroupAutoencoder, Reconstruction


class PretrainModule(LightningModule):
    """Trains a masked autoencoder on chips without labels.

    Args:
        autoencoder: What is trained.
        prepare: Normalisation of the bands.
        settings: Mask, loss, optimizer, augmentation and seed.
    """

    #: Columns of history.csv.
    columns = TRAINING_COLUMNS

    def __init__(
        self, autoencoder: GroupAutoencoder, prepare: Prepare, settings: PretrainSettings
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.prepare = prepare
        self.settings = settings
        self.augment = Augment(settings.data.augment)
        # The class token's group embedding has no part in pretraining: it would never be stepped.
        autoencoder.encoder.channel_cls_embed.requires_grad_(False)
        # A checkpoint is a published autoencoder; ``on_load_checkpoint`` checks it, strictly.
        self.strict_loading = False

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Seed augmentation and mask by epoch and batch."""
        seed_batch(self.settings.seed, self.current_epoch, batch_index, self.global_rank)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of one batch.

        Raises:
            TrainingError: The input or the loss is not finite.
        """
        check_finite(batch["image"], self.global_step)
        image, valid = batch["image"], batch["valid"]
        image, valid, _ = self.augment(image, valid, torch.zeros_like(valid, dtype=torch.int64))
        x = self.prepare(image, valid)
        loss = self.autoencoder.loss(
            x, self.rebuild(x), normalise=self.settings.normalise, valid=valid
        )
        if not torch.isfinite(loss):
            raise diverged(self, f"the loss is {loss.item()}")
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(x))
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=len(x))
        return loss

    def rebuild(self, x: Tensor) -> Reconstruction:
        """Hide tokens of prepared chips (B, C, H, W) by torch's next random numbers, and rebuild.

        The numbers are drawn on the CPU: a seed hides the same on every device.
        """
        spatial = self.settings.mask.spatial == "consistent"
        noise = torch.rand(self.autoencoder.noise_shape(x, spatial=spatial)).to(x.device)
        made: Reconstruction = self.autoencoder(x, noise, self.settings.mask.ratio)
        return made

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the autoencoder under its published names."""
        checkpoint["state_dict"] = self.autoencoder.published_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the autoencoder, strictly."""
        self.load_trained_state(checkpoint["state_dict"])
        checkpoint["state_dict"] = {}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Load a checkpoint's tensors; missing or left-over ones are an error."""
        self.autoencoder.load_published_state(state)

    def configure_optimizers(self) -> Any:
        """Return optimizer and learning-rate schedule of the settings."""
        steps = total_steps(self.trainer, self.settings.trainer)
        trainer = self.settings.trainer
        chips = self.settings.data.batch_size * trainer.accumulate_grad_batches
        optimizer = trainer.optimizer.for_batch(chips * self.trainer.world_size)
        return build_optimizer(plain_groups(self.autoencoder, optimizer), optimizer, steps)
