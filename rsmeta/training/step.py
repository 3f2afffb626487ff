"""What one training step computes, whoever runs the loop: augmentation, scores, loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rsmeta.data.augment import Augment
from rsmeta.tasks import task_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from rsmeta.config import Settings
    from rsmeta.models.network import Network


class Step:
    """Turns a batch into the loss that training minimises.

    Not a module: the Lightning module that runs it registers network and loss itself.

    Args:
        network: What is trained.
        loss: ``loss(logits (B, K, …), target (B, …)) -> scalar``; what has no label is ignored.
        settings: Task, augmentation, and whether the scales are trained with the weights.

    Attributes:
        score: Scores a batch with the network, compiled if that is asked for.
    """

    def __init__(self, network: Network, loss: nn.Module, settings: Settings) -> None:
        self.network = network
        self.loss = loss
        self.settings = settings
        self.task = task_of(settings)
        self.augment = Augment(settings.data.augment)
        self.score: Callable[[Tensor, Tensor], Tensor] = (
            torch.compile(network.forward) if settings.trainer.compile else network.__call__
        )
        if settings.meta.strategy == "joint" or settings.meta.uses_training_gradients:
            for rho in network.scale_parameters():
                rho.requires_grad_(True)

    def changed(self, batch: dict[str, Tensor], *, augment: bool = True) -> dict[str, Tensor]:
        """Return ``image``, ``valid`` and ``target`` of a batch, changed at random if asked."""
        drawn = batch["image"], batch["valid"], batch[self.task.target]
        if augment:
            drawn = self.augment(*drawn)
        return dict(zip(("image", "valid", "target"), drawn, strict=True))

    def loss_of(self, drawn: dict[str, Tensor]) -> Tensor:
        """Return the loss () of what ``changed`` returned."""
        loss: Tensor = self.loss(self.score(drawn["image"], drawn["valid"]), drawn["target"])
        return loss
