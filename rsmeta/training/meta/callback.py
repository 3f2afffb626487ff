"""When the scales move: every K optimizer steps, between two steps of the weights."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from rsmeta.config.meta import GradientOptions
from rsmeta.errors import TrainingError
from rsmeta.training.meta.descent import is_finite
from rsmeta.training.meta.isolation import isolated, seeded
from rsmeta.training.meta.objective import ClassObjective
from rsmeta.training.meta.schedule import travel_shares
from rsmeta.training.meta.strategy import build_strategy
from rsmeta.training.meta.task import MetaTask, loss_scale
from rsmeta.training.meta.trials import try_scales

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import Trainer
    from torch import nn

    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.meta.descent import Estimate
    from rsmeta.training.meta.strategy import MetaStrategy
    from rsmeta.training.meta.task import Batch
    from rsmeta.training.module import TaskModule

logger = logging.getLogger(__name__)


class MetaStep(Callback):
    """Takes meta steps while Lightning trains the weights.

    The number of the next meta step, the gradients gathered for it, and the strategy's state are
    part of the checkpoint; the scales are saved with the weights.

    Args:
        data: Draws the batches of meta steps.
    """

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.done = 0
        self._seen = 0
        self._shares: dict[int, float] = {}
        self._estimates: list[Estimate] = []
        self._objective: nn.Module | None = None
        self._batches: Iterator[Batch] | None = None
        self._strategy: MetaStrategy | None = None
        self._restored: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, module: TaskModule) -> None:  # type: ignore[override]  # our module
        """Build the strategy, restored from the checkpoint, and the one iterator of batches.

        Raises:
            TrainingError: Lightning's strategy splits the network.
        """
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise TrainingError(
                f"trainer.strategy={module.settings.trainer.strategy} splits the network, and "
                f"scales can only be learned on a whole one; use auto or ddp, or "
                f"meta.strategy=fixed"
            )
        meta = module.settings.meta
        self._strategy = build_strategy(
            meta, module.network.scale_parameters(), seed=module.settings.seed
        )
        if self._restored is not None:
            self._strategy.load_state_dict(self._restored)
            self._estimates = [[g.to(module.device) for g in one] for one in self._estimates]
        self._seen = trainer.global_step
        total = int(trainer.estimated_stepping_batches)
        self._shares = travel_shares(meta, total)
        if meta.objective != "training":
            self._objective = ClassObjective(meta.objective, self.data.class_counts)
        if self._restored is None and trainer.global_step == 0:
            self._try(trainer, module)
        if not self._shares:
            logger.warning(
                "no scale will move: a run of %d steps ends before its first meta step; lower "
                "meta.every_n_steps (now %d)", total, meta.every_n_steps,
            )  # fmt: skip
        if meta.batches:
            loader = self.data.meta_dataloader(
                meta, steps_ahead=self._strategy.steps_ahead, first_step=self.done
            )
            self._batches = iter(loader)

    def _try(self, trainer: Trainer, module: TaskModule) -> None:
        """Start from the best of a few scales, where the strategy tries any."""
        assert self._strategy is not None
        options = self._strategy.options
        if isinstance(options, GradientOptions) and options.lr is None:
            try_scales(module, trainer, self.data, options, self._objective)

    def on_before_optimizer_step(self, trainer: Trainer, module: TaskModule, *_: Any) -> None:  # type: ignore[override]  # our module
        """Gather the scales' gradient of this training step, which its backward pass yields."""
        assert self._strategy is not None
        rhos = self._strategy.rhos
        if not (
            module.settings.meta.uses_training_gradients and any(r.requires_grad for r in rhos)
        ):
            return
        if trainer.global_step >= max(self._shares, default=0):  # scales are frozen from here on
            self._spare(trainer, module)
            return
        scale, estimate = loss_scale(trainer), []
        for rho in rhos:
            found = torch.zeros_like(rho) if rho.grad is None else rho.grad
            estimate.append(found if scale == 1 else found / scale)
            rho.grad = None
        self._estimates = [*self._estimates, estimate][-module.settings.meta.every_n_steps :]

    def _spare(self, trainer: Trainer, module: TaskModule) -> None:
        """Drop gradients that will not be used; where possible, have none computed any more."""
        assert self._strategy is not None
        # DDP waits for every gradient it began with; a compiled network would be compiled again.
        alone = isinstance(trainer.strategy, SingleDeviceStrategy)
        for rho in self._strategy.rhos:
            rho.grad = None
            rho.requires_grad_(not alone or module.settings.trainer.compile)

    def on_train_batch_end(self, trainer: Trainer, module: TaskModule, *_: Any) -> None:  # type: ignore[override]  # our module
        """Take a meta step if one is due: never while gradients are still being accumulated."""
        stepped = trainer.global_step != self._seen
        self._seen = trainer.global_step
        if stepped and self._seen in self._shares:
            self.step(trainer, module)

    def step(self, trainer: Trainer, module: TaskModule) -> None:
        """Take one meta step; it changes the scales and the strategy's state alone."""
        assert self._strategy is not None
        if not module.settings.meta.batches:  # nothing runs through the network
            self._strategy.update(self._task(trainer, module))
            self.done += 1
            return
        with isolated(module, self._strategy.rhos), trainer.precision_plugin.forward_context():
            seeded(module, "meta", self.done)
            self._strategy.update(self._task(trainer, module))
        self.done += 1

    def on_train_end(self, *_: Any) -> None:
        """Close the iterator and the files that it holds open."""
        self._batches = None

    def on_exception(self, *_: Any) -> None:
        """Close the iterator and the files that it holds open."""
        self._batches = None

    def state_dict(self) -> dict[str, Any]:
        """Return the number of finished meta steps, what the next one has, and the strategy."""
        state = self._restored if self._strategy is None else self._strategy.state_dict()
        return {"done": self.done, "estimates": self._estimates, "strategy": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.done, self._estimates = state["done"], state["estimates"]
        self._restored = state["strategy"]

    def _task(self, trainer: Trainer, module: TaskModule) -> MetaTask:
        meta = module.settings.meta
        assert self._strategy is not None
        ahead = self._strategy.steps_ahead
        batches = [self._next(trainer, module) for _ in range(ahead + meta.batches)]
        # A half-precision step that overflows is skipped, and its gradient with it.
        estimates = [estimate for estimate in self._estimates if is_finite(estimate)]
        self._estimates = []
        return MetaTask(
            network=module.network,
            rhos=self._strategy.rhos,
            loss=self._objective or module.loss,
            ahead=batches[:ahead],
            batches=batches[ahead:],
            optimizer=trainer.optimizers[0],
            clip_norm=trainer.gradient_clip_val,
            loss_scale=loss_scale(trainer),
            share=self._shares[trainer.global_step],
            training_estimates=estimates,
        )

    def _next(self, trainer: Trainer, module: TaskModule) -> Batch:
        assert self._batches is not None
        batch = trainer.strategy.batch_to_device(next(self._batches))
        return module.changed(batch, augment=module.settings.meta.source == "train")
