"""What an outer step works on: the network, its loss as a function, and the drawn batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from rsmeta.models.network import Network

Batch = dict[str, Any]


@dataclass(frozen=True)
class OuterTask:
    """One outer step, as a strategy sees it.

    The weights ask for no gradient meanwhile, the scales' ``rho`` do; dropout and other noise
    are off.

    Args:
        network: The network at its present weights.
        scales: Every ``rho``, once.
        loss: What training minimises: (logits (B, K, …), target (B, …)) -> scalar.
        inner: Training batches, as many as the strategy asked for.
        outer: The batches that the scales answer to; at least one.
        optimizer: The optimizer of the weights, to look ahead with; it must not be changed.
        clip_norm: Largest gradient norm that a step of the weights may have; none: any.
        loss_scale: Factor that keeps half-precision gradients from vanishing.
    """

    network: Network | nn.Module
    scales: Sequence[nn.Parameter]
    loss: nn.Module
    inner: Sequence[Batch]
    outer: Sequence[Batch]
    optimizer: torch.optim.Optimizer | None = None
    clip_norm: float | None = None
    loss_scale: float = 1.0

    def loss_of(self, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            batch: ``image``, ``valid`` and ``target``, augmented.
            weights: Tensors, by name, that stand in for the network's own; none: its own.
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
            inputs: What to differentiate by.
            create_graph: Let the gradients themselves be differentiated.
            retain_graph: Keep what the loss was made of; none: as ``create_graph``.
        """
        gradients = torch.autograd.grad(
            loss * self.loss_scale, list(inputs), retain_graph=retain_graph,
            create_graph=create_graph, allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        return [gradient / self.loss_scale for gradient in gradients]

    def outer_gradient(
        self, inputs: Sequence[Tensor], weights: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        """Return the gradients of the mean loss of the outer batches.

        Args:
            inputs: What to differentiate by.
            weights: Tensors that stand in for the network's own; their history is kept.
        """
        total = [torch.zeros_like(one) for one in inputs]
        for batch in self.outer:
            loss = self.loss_of(batch, weights) / len(self.outer)
            found = self.gradient(loss, inputs, retain_graph=weights is not None)
            total = [t + g for t, g in zip(total, found, strict=True)]
        return total
