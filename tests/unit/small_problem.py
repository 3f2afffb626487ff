"""A two-layer network with adapters, small enough for derivatives to be taken numerically."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rsmeta.config.meta import MetaSettings
from rsmeta.peft import AdaptedModule, LoRA, Site, modulate
from rsmeta.training.meta import MetaTask


class Small(nn.Module):
    """Frozen layers with a LoRA each, and a head that learns: float64, nothing random."""

    def __init__(self, width: int = 6, classes: int = 3, **meta: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList()
        for block in range(2):
            site = Site(block, "mlp1", width, width, f"layers.{block}")
            adapter = LoRA(width, width, rank=2, alpha=2)
            nn.init.normal_(adapter.up, std=0.5)
            base = nn.Linear(width, width).requires_grad_(False)
            self.layers.append(AdaptedModule(base, {site: adapter}))
        self.head = nn.Linear(width, classes)
        modulate(self, MetaSettings(**{"granularity": "site", "strategy": "first_order", **meta}))
        self.double()

    @property
    def weights(self) -> list[nn.Parameter]:
        return [p for name, p in self.named_parameters() if p.requires_grad and "rho" not in name]

    @property
    def rhos(self) -> list[nn.Parameter]:
        return [p for name, p in self.named_parameters() if name.endswith("rho")]

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        logits: Tensor = self.head(x)
        return logits


def batch(seed: int, size: int = 8, width: int = 6, classes: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(size, width, generator=generator, dtype=torch.float64),
        "valid": torch.ones(size, dtype=torch.bool),
        "target": torch.randint(classes, (size,), generator=generator),
    }


def task_of(
    network: Small, optimizer: torch.optim.Optimizer | None = None, *, ahead: int = 0, **keys: Any
) -> MetaTask:
    """Return a task as ``MetaStep`` makes it: only the scales require gradients."""
    network.requires_grad_(False)
    for rho in network.rhos:
        rho.requires_grad_(True)
    return MetaTask(
        network=network,
        rhos=network.rhos,
        loss=nn.CrossEntropyLoss(),
        ahead=[batch(10 + i) for i in range(ahead)],
        batches=[batch(20), batch(21)],
        optimizer=optimizer,
        **keys,
    )
