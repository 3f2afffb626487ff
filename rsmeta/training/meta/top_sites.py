"""Train the sites that matter most at present, and leave the other adapters as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch.callbacks import Callback

from rsmeta.peft import AdaptedModule
from rsmeta.training.meta.task import loss_scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning import Trainer
    from torch import nn

    from rsmeta.peft import Adapter
    from rsmeta.training.module import TaskModule


class TopSites(Callback):
    """Steps the adapters of a few sites only: those with most Fisher information.

    A site's information is the mean of the squared gradient over its adapter's weights, and over
    the steps since the last choice; by the mean, wide sites are not preferred. Choices and sums
    are part of the checkpoint.

    Args:
        keep: Sites that are trained at a time.
        every: Optimizer steps between two choices; the first follows the first gradient.

    Source: after CrossEarth-Gate (CVPR 2026), which selects modules by Fisher information.
    """

    def __init__(self, keep: int, every: int) -> None:
        self.keep, self.every = keep, every
        #: Labels of the sites that are trained at present.
        self.chosen: list[str] = []
        self._information: dict[str, float] = {}
        self._weights: dict[str, list[nn.Parameter]] = {}

    def on_train_start(self, trainer: Trainer, module: TaskModule) -> None:  # type: ignore[override]  # our module
        """Find the weights of each site."""
        self._weights = adapter_weights(module.network.backbone)

    def on_before_optimizer_step(self, trainer: Trainer, module: TaskModule, *_: Any) -> None:  # type: ignore[override]  # our module
        """Add up information, choose if it is time, and drop the other sites' gradients."""
        for label, found in information(self._weights, loss_scale(trainer)).items():
            self._information[label] = self._information.get(label, 0.0) + found
        if trainer.global_step % self.every == 0:
            ranked = sorted(self._weights, key=lambda label: -self._information.get(label, 0.0))
            self.chosen, self._information = ranked[: self.keep], {}
        for label, weights in self._weights.items():
            if label not in self.chosen:
                for weight in weights:
                    weight.grad = None  # an optimizer leaves such weights and their decay alone

    def state_dict(self) -> dict[str, Any]:
        """Return what the next choice depends on."""
        return {"chosen": list(self.chosen), "information": dict(self._information)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.chosen, self._information = state["chosen"], state["information"]


def adapter_weights(backbone: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the weights of each site's adapter that learn, by the site's label."""
    return {
        module.label(position): [
            p for p in cast("Adapter", module.adapters[position]).parameters() if p.requires_grad
        ]
        for module in backbone.modules()
        if isinstance(module, AdaptedModule)
        for position in module.sites
    }


def information(weights: Mapping[str, list[nn.Parameter]], factor: float = 1.0) -> dict[str, float]:
    """Return the mean squared gradient of each site; of one that is not finite, 0.

    Args:
        weights: Of each site.
        factor: What half-precision training multiplies losses by.
    """
    found = {}
    for label, ones in weights.items():
        squares = sum(
            float((p.grad.detach() / factor).square().sum()) for p in ones if p.grad is not None
        )
        mean = squares / max(sum(p.numel() for p in ones), 1)
        found[label] = mean if math.isfinite(mean) else 0.0
    return found
