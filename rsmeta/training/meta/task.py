"""What a meta step works on: the network, its loss as a function, and the drawn batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lightning import Trainer
    from torch import Tensor, nn

    from rsmeta.models.network import Network
    from rsmeta.training.meta.descent import Estimate

Batch = dict[str, Any]


@dataclass(frozen=True)
class MetaTask:
    """One meta step, as a strategy sees it.

    Meanwhile the weights require no gradient, every ``rho`` does, and dropout and other noise are
    off.

    Args:
        network: The network at its present weights.
        rhos: Every ``rho``, once.
        loss: What the scales minimise: (logits (B, K, …), target (B, …)) -> scalar.
        ahead: Training batches for the steps that the strategy looks ahead.
        batches: The batches that the scales are judged by; at least one.
        optimizer: The optimizer of the weights, to look ahead with; it must not be changed.
        clip_norm: Largest gradient norm of a step of the weights; none: any.
        loss_scale: Factor that keeps half-precision gradients from vanishing.
        share: Part of the run's travel that this meta step may use.
        training_estimates: Gradients by every ``rho`` of training steps since the last meta step.
    """

    network: Network | nn.Module
    rhos: Sequence[nn.Parameter]
    loss: nn.Module
    ahead: Sequence[Batch]
    batches: Sequence[Batch]
    optimizer: torch.optim.Optimizer | None = None
    clip_norm: float | None = None
    loss_scale: float = 1.0
    share: float = 1.0
    training_estimates: Sequence[Estimate] = ()

    def loss_of(self, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            batch: ``image``, ``valid`` and ``target``, augmented.
            weights: Tensors, by name, that replace the network's own; none: its own.
        """
        inputs = (batch["image"], batch["valid"])
        logits = functional_call(self.network, dict(weights or {}), inputs)
        loss: Tensor = self.loss(logits, batch["target"])
        return loss

    def gradient(
        self,
        loss: Tensor,
        inputs: Sequence[Tensor],
        *,
        create_graph: bool = False,
        retain_graph: bool | None = None,
    ) -> list[Tensor]:
        """Return the gradients of ``loss``, zeros where it does not depend on an input.

        Args:
            loss: A scalar.
            inputs: What to differentiate with respect to.
            create_graph: Let the gradients themselves be differentiated.
            retain_graph: Keep the loss's graph; none: as ``create_graph``.
        """
        gradients = torch.autograd.grad(
            loss * self.loss_scale, list(inputs), retain_graph=retain_graph,
            create_graph=create_graph, allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        return [gradient / self.loss_scale for gradient in gradients]

    def meta_gradients(
        self, inputs: Sequence[Tensor], weights: Mapping[str, Tensor] | None = None
    ) -> Iterator[list[Tensor]]:
        """Yield the gradients of each batch's loss.

        Args:
            inputs: What to differentiate with respect to.
            weights: Tensors that replace the network's own; their graph is kept.
        """
        for batch in self.batches:
            loss = self.loss_of(batch, weights)
            yield self.gradient(loss, inputs, retain_graph=weights is not None)


def loss_scale(trainer: Trainer) -> float:
    """Return the factor that half-precision training multiplies losses by."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return 1.0 if scaler is None else float(scaler.get_scale())
