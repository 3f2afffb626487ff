"""When the scales move: every K optimizer steps, between two steps of the weights."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from rsmeta.errors import TrainingError
from rsmeta.training.meta.isolation import isolated
from rsmeta.training.meta.strategy import STRATEGIES
from rsmeta.training.meta.task import OuterTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import Trainer

    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.meta.strategy import MetaStrategy
    from rsmeta.training.meta.task import Batch
    from rsmeta.training.module import TaskModule


class MetaStep(Callback):
    """Takes outer steps while Lightning trains the weights.

    The number of the next outer step and the strategy's state are part of the checkpoint; the
    scales are with the weights.

    Args:
        data: Draws the batches of outer steps.
    """

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.done = 0
        self._seen = 0
        self._batches: Iterator[Batch] | None = None
        self._strategy: MetaStrategy | None = None
        self._restored: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, module: TaskModule) -> None:  # type: ignore[override]  # our module
        """Make the strategy, with its state of the checkpoint, and the one iterator of batches.

        Raises:
            TrainingError: Lightning's strategy splits the network up.
        """
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise TrainingError(
                f"trainer.strategy={module.settings.trainer.strategy} splits the network up, and "
                f"scales are learned on whole ones; use auto or ddp, or meta.strategy=fixed"
            )
        meta = module.settings.meta
        kind = STRATEGIES.get(meta.strategy)
        self._strategy = kind(module.network.scale_parameters(), meta, seed=module.settings.seed)
        if self._restored is not None:
            self._strategy.load_state_dict(self._restored)
        self._seen = trainer.global_step
        loader = self.data.outer_dataloader(
            meta, inner_batches=kind.inner_batches(meta), first_step=self.done
        )
        self._batches = iter(loader)

    def on_train_batch_end(self, trainer: Trainer, module: TaskModule, *_: Any) -> None:  # type: ignore[override]  # our module
        """Take an outer step if one is due: never while gradients are still accumulated."""
        stepped = trainer.global_step != self._seen
        self._seen = trainer.global_step
        if stepped and module.settings.meta.due(self._seen):
            self.step(trainer, module)

    def step(self, trainer: Trainer, module: TaskModule) -> None:
        """Take one outer step; afterwards only scales and strategy are others than before."""
        assert self._strategy is not None
        with isolated(module, self._strategy.scales), trainer.precision_plugin.forward_context():
            place = (module.settings.seed, "outer", self.done, module.global_rank)
            torch.manual_seed(zlib.crc32(repr(place).encode()))
            self._strategy.update(self._task(trainer, module))
        self.done += 1

    def on_train_end(self, *_: Any) -> None:
        """Let go of the iterator and what it holds open."""
        self._batches = None

    def on_exception(self, *_: Any) -> None:
        """Let go of the iterator and what it holds open."""
        self._batches = None

    def state_dict(self) -> dict[str, Any]:
        """Return the number of finished outer steps and the strategy's state."""
        state = self._restored if self._strategy is None else self._strategy.state_dict()
        return {"done": self.done, "strategy": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self.done = state["done"]
        self._restored = state["strategy"]

    def _task(self, trainer: Trainer, module: TaskModule) -> OuterTask:
        meta = module.settings.meta
        inner = STRATEGIES.get(meta.strategy).inner_batches(meta)
        batches = [self._next(trainer, module) for _ in range(inner + meta.batches)]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        return OuterTask(
            network=module.network,
            scales=module.network.scale_parameters(),
            loss=module.loss,
            inner=batches[:inner],
            outer=batches[inner:],
            optimizer=trainer.optimizers[0],
            clip_norm=trainer.gradient_clip_val,
            loss_scale=1.0 if scaler is None else float(scaler.get_scale()),
        )

    def _next(self, trainer: Trainer, module: TaskModule) -> Batch:
        assert self._batches is not None
        batch = trainer.strategy.batch_to_device(next(self._batches))
        return module.changed(batch)
