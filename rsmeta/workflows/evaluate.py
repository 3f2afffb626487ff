"""Compare the predictions of a bundle with the labels of a part of a configuration's data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from rsmeta.bundle import load_bundle
from rsmeta.config import load_settings
from rsmeta.errors import ConfigError
from rsmeta.inference.test_time_augmentation import augmented
from rsmeta.losses import build_loss
from rsmeta.tasks import task_of
from rsmeta.training.fit import evaluate_part
from rsmeta.training.module import TaskModule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rsmeta.bundle import BundleRecord
    from rsmeta.config import Settings
    from rsmeta.data.splits import Part
    from rsmeta.inference.test_time_augmentation import Views
    from rsmeta.metrics import (
        ClassificationResult,
        MultilabelResult,
        RegressionResult,
        SegmentationResult,
    )
    from rsmeta.tasks.base import TrainingData

    Scores: TypeAlias = (
        SegmentationResult | ClassificationResult | MultilabelResult | RegressionResult
    )


def evaluate(
    bundle: str | Path,
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    split: Part = "test",
    augment: Views = "none",
) -> Scores:
    """Evaluate a bundle on a part of a configuration's data.

    Args:
        bundle: The bundle's folder.
        config: YAML file or mapping; its ``data`` section names the part.
        overrides: ``KEY=VALUE`` strings over the configuration.
        split: ``train``, ``validation`` or ``test``.
        augment: Views of a chip or image to average, as ``predict.augment`` has them.

    Returns:
        Scores of the task, overall and per class, and the confusion matrix where there is one.

    Raises:
        RsmetaError: The configuration has no such part, or another task, other classes or
            another quantity than the bundle.
    """
    settings = load_settings(config, overrides)
    loaded = load_bundle(bundle)
    task = task_of(settings)
    _check_same_task(loaded.record, settings)
    bands = tuple(band.band for band in loaded.record.bands)
    data = task.data(settings, bands=bands, to_train=False)
    _check_same_classes(loaded.record, [spec.name for spec in data.classes])
    loss = build_loss(settings.loss, task.loss_statistics(data), task.losses)
    metrics = task.metrics(data, loaded.record.training.get("class_counts"))
    module = TaskModule(loaded.network, loss, metrics, settings)
    return scores_of(module, data, split=split, augment=augment)


def scores_of(module: TaskModule, data: TrainingData, *, split: Part, augment: Views) -> Scores:
    """Return the scores of a part, each chip or image seen in several views.

    Raises:
        ConfigError: The views are for whole images, and pixels have labels.
        SplitError: There is no such part.
    """
    task, score = module.task, module.score
    if not task.per_pixel:
        module.score = augmented(score, augment, seed=module.settings.seed)
    elif augment not in ("none", "flips", "all"):
        raise ConfigError(f"augment={augment} is for labels of whole images; use flips or all")
    elif augment != "none":
        turned = augmented(lambda *batch: task.activate(score(*batch)), augment)
        module.score = lambda *batch: task.deactivate(turned(*batch))
    result: Scores = evaluate_part(module, data, part=split)
    return result


def _check_same_task(record: BundleRecord, settings: Settings) -> None:
    """Refuse to compare a model with labels that mean something else than its own did."""
    per = "pixel" if settings.per_pixel else "image"
    if (record.task, record.per) != (settings.task, per):
        raise ConfigError(
            f"the bundle was trained for {record.task} per {record.per}, the configuration is for "
            f"{settings.task} per {per}; set task={record.task} and data to match"
        )
    if settings.data.classes:  # else they are known when the images are
        _check_same_classes(record, [spec.name for spec in settings.data.classes])
    target = settings.data.target
    if record.target is not None and target is not None:
        own, given = (record.target.name, record.target.unit), (target.name, target.unit)
        if own != given:
            raise ConfigError(f"the bundle estimates {own}, data.target is {given}")


def _check_same_classes(record: BundleRecord, named: Sequence[str]) -> None:
    trained = [spec.name for spec in record.classes]
    if trained != list(named):
        raise ConfigError(f"the bundle's classes are {trained}, data.classes are {list(named)}")
