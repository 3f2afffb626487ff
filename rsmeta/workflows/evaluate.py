"""Score a bundle on the train, validation or test part of a configuration."""

from __future__ import annotations

import glob
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rsmeta.bundle import load_bundle
from rsmeta.config import load_settings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.errors import ConfigError
from rsmeta.geo.inputs import check_not_an_input
from rsmeta.inference.test_time_augmentation import augmented
from rsmeta.losses import build_loss
from rsmeta.tasks import task_of
from rsmeta.training.fit import evaluate_part
from rsmeta.training.module import TaskModule
from rsmeta.workflows.map_scores import score_as_mapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rsmeta.bundle import BundleRecord
    from rsmeta.config import Settings
    from rsmeta.config.load import Overrides
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

logger = logging.getLogger(__name__)


def evaluate(
    bundle: str | Path,
    config: str | Path | Mapping[str, Any],
    overrides: Overrides = (),
    *,
    split: Part = "test",
    augment: Views | None = None,
) -> Scores:
    """Score a bundle on one part of a configuration's data.

    Labels of pixels are compared with what a map of the bundle shows there.

    Args:
        bundle: The bundle folder.
        config: YAML file or mapping with the ``data`` section.
        overrides: ``KEY=VALUE`` strings, or a mapping, that override the configuration.
        split: ``train``, ``validation`` or ``test``.
        augment: Views to average, as in ``predict.augment``; none: those of the bundle's maps, and
            of images none.

    Returns:
        Scores of the task, overall and per class, with the confusion matrix of classes.

    Raises:
        RsmetaError: The configuration lacks this part, or its task, classes or target differ
            from those of the bundle.
    """
    settings = load_settings(config, overrides)
    loaded = load_bundle(bundle)
    settings = _filtered_alike(settings, loaded.record)
    task = task_of(settings)
    _check_same_task(loaded.record, settings)
    bands = tuple(band.band for band in loaded.record.bands)
    data = task.data(settings, bands=bands, to_train=False)
    _check_same_classes(loaded.record, [spec.name for spec in data.classes])
    metrics = task.metrics(data, loaded.record.training.get("class_counts"))
    if isinstance(data, SceneDataModule):
        data.ordered_dataloader(split)  # raises where there is no such part
        if split == "validation" and split in loaded.record.training.get("trained_on", ()):
            logger.warning(
                "the bundle was solved with the validation labels of its training (data.split."
                "refit): scores on them flatter it; metrics.json has those from before"
            )
        record = _with_views(loaded.record, augment)
        scores: Scores = score_as_mapped(loaded, record, data.parts[split], metrics)
        return scores
    loss = build_loss(settings.loss, task.loss_statistics(data), task.losses)
    module = TaskModule(loaded.network, loss, metrics, settings)
    return scores_of(module, data, split=split, augment=augment or "none")


def _filtered_alike(settings: Settings, record: BundleRecord) -> Settings:
    """Return settings that filter speckle as the model has it, whatever they say of it."""
    data = settings.data.model_copy(update={"speckle": record.read.speckle})
    return settings.model_copy(update={"data": data})


def check_scores_file(
    output: Path, inputs: Sequence[str | Path | None], settings: Settings | None = None
) -> None:
    """Check that a file of scores replaces nothing that is read.

    Args:
        output: The file.
        inputs: Maps, labels, bundle and configuration.
        settings: Settings whose scenes, labels and weights are read.

    Raises:
        OutputError: The file is one of them.
    """
    read = [] if settings is None else _files_named(settings)
    check_not_an_input([output], [*read, *(place for place in inputs if place is not None)])


def _files_named(settings: Settings) -> list[str]:
    """Return the files and folders that the data and model sections name."""
    root = Path(getattr(settings.data, "root", "."))
    tree = settings.model_dump(mode="json", include={"data", "model"})
    patterns = [re.sub(r"\{\w+\}", "*", text) for text in _texts(tree)]
    found = [file for pattern in patterns for file in glob.glob(str(root / pattern))]  # noqa: PTH207
    return [file for file in found if Path(file).resolve() != root.resolve()]


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _texts(inner)


def scores_of(module: TaskModule, data: TrainingData, *, split: Part, augment: Views) -> Scores:
    """Return the scores of a part of images, averaged over views of each.

    Raises:
        SplitError: The part does not exist.
    """
    module.score = augmented(module.score, augment, seed=module.settings.seed)
    result: Scores = evaluate_part(module, data, part=split)
    return result


def _with_views(record: BundleRecord, augment: Views | None) -> BundleRecord:
    """Return a record that maps with other views.

    Raises:
        ConfigError: They apply to whole images.
    """
    if augment is None:
        return record
    if augment not in ("none", "flips", "all"):
        raise ConfigError(f"augment={augment} applies to image labels only; use flips or all")
    views = record.predict.model_copy(update={"augment": augment})
    return record.model_copy(update={"predict": views})


def _check_same_task(record: BundleRecord, settings: Settings) -> None:
    """Check that model and labels share task, classes and target."""
    per = "pixel" if settings.per_pixel else "image"
    if (record.task, record.per) != (settings.task, per):
        raise ConfigError(
            f"the bundle was trained for {record.task} per {record.per}, but the configuration "
            f"asks for {settings.task} per {per}; set task={record.task} and matching data"
        )
    if settings.data.classes:  # otherwise they are known once the images are listed
        _check_same_classes(record, [spec.name for spec in settings.data.classes])
    target = settings.data.target
    if record.target is not None and target is not None:
        own, given = (record.target.name, record.target.unit), (target.name, target.unit)
        if own != given:
            raise ConfigError(
                f"the bundle estimates {own}, but data.target is {given}; use the same name "
                f"and unit"
            )


def _check_same_classes(record: BundleRecord, names: Sequence[str]) -> None:
    trained = [spec.name for spec in record.classes]
    if trained != list(names):
        raise ConfigError(
            f"the bundle's classes are {trained}, but data.classes are {list(names)}; use the same "
            f"names in the same order"
        )
