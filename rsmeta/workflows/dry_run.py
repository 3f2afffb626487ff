"""Say what a configuration would train, and train nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsmeta.bundle.as_backbone import build_from
from rsmeta.config import Settings, load_settings
from rsmeta.losses import build_loss
from rsmeta.models.build import check_not_random_and_frozen, report_network
from rsmeta.shown import Shown, View
from rsmeta.tasks import task_of
from rsmeta.training.duration import estimate_duration
from rsmeta.training.meta import check_strategy
from rsmeta.training.optimizers import learning_table
from rsmeta.training.step import Step
from rsmeta.workflows.auto import estimated_seconds, open_candidates, without_candidates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rsmeta.config.load import Overrides


@dataclass(frozen=True, repr=False)
class DryRun(Shown):
    """What a run would train.

    Attributes:
        rows: One per place: ``site``, ``method``, ``rank``, ``parameters``, ``rate``.
        trained: Numbers that would learn.
        total: Numbers of the whole network.
        steps: Optimizer steps at most; 0 where the head is solved for.
        seconds: What they take on this machine; none where that is not known.
        candidates: Models that cross-validation would choose from; none where one is named.
    """

    rows: list[dict[str, Any]]
    trained: int
    total: int
    steps: int = 0
    seconds: float | None = None
    candidates: tuple[str, ...] = ()

    def view(self) -> View:
        """Return what would be trained, place by place."""
        facts = {"trained": self.trained, "total": self.total, "steps": self.steps,
                 "seconds": self.seconds, "candidates": len(self.candidates) or None}  # fmt: skip
        rows = [tuple(row.values()) for row in self.rows] or [(name,) for name in self.candidates]
        return View(facts, tuple(self.rows[0]) if self.rows else ("candidate",), rows)


def dry_run(config: str | Path | Mapping[str, Any] | Settings, overrides: Overrides = ()) -> DryRun:
    """Check scenes, labels, weights and tuner as training would, and stop there.

    Nothing is written. The scenes are opened for their bands; pixels are read only as far as the
    labels are surveyed, and for a few steps that are timed.

    Args:
        config: YAML file, mapping, or settings.
        overrides: ``KEY=VALUE`` strings, or a mapping, over the configuration.

    Raises:
        RsmetaError: What would stop training before its first step.
    """
    settings = config if isinstance(config, Settings) else load_settings(config, overrides)
    task = task_of(settings)
    check_strategy(settings.meta)
    data = task.data(settings)
    if candidates := open_candidates(settings, data):
        seconds = estimated_seconds(settings, data)
        return DryRun(rows=[], trained=0, total=0, seconds=seconds, candidates=candidates)
    settings = without_candidates(settings)
    count = len(data.bands)
    network = build_from(
        settings.model, settings.tuner, bands=data.bands, classes=task.outputs(data),
        mean=[0.0] * count, std=[1.0] * count, meta=settings.meta, per_pixel=task.per_pixel,
    )  # fmt: skip
    report_network(network)
    check_not_random_and_frozen(network, settings.model)
    if (target := task.target_scale(data)) is not None:
        network.set_target(*target)
    loss = build_loss(settings.loss, task.loss_statistics(data), task.losses)
    duration = estimate_duration(Step(network, loss, settings), data)
    trainer = settings.trainer
    chips = settings.data.batch_size * trainer.accumulate_grad_batches  # of one process
    return DryRun(
        rows=learning_table(network, trainer.optimizer.for_batch(chips)),
        trained=sum(p.numel() for p in network.trainable_parameters()),
        total=sum(p.numel() for p in network.parameters()),
        **duration._asdict(),
    )
