"""The final numbers of a training: scores, baselines, and what they warn of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.images.datamodule import ImageDataModule
from rsmeta.errors import LabelsError, enumerate_names, optional
from rsmeta.training.baseline import baseline_scores, compare_with_baselines
from rsmeta.training.fit import evaluate_part
from rsmeta.workflows.map_scores import score_as_mapped
from rsmeta.workflows.training_run import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.bundle import ModelBundle
    from rsmeta.data.splits import Part
    from rsmeta.tasks.base import TrainingData
    from rsmeta.training.fit import FitResult
    from rsmeta.training.module import TaskModule

logger = logging.getLogger(__name__)

#: Classes that are named in one warning.
_MOST_TOLD = 8


def final_metrics(
    module: TaskModule,
    bundle: ModelBundle,
    data: TrainingData,
    result: FitResult,
    *,
    parts: Sequence[Part] = ("test", "validation"),
) -> dict[str, Any]:
    """Evaluate the kept weights; return what metrics.json holds.

    Labels of pixels are compared with what a map shows there.

    Args:
        module: The trained network, with its task and settings.
        bundle: The same as a bundle.
        data: Labels and scenes.
        result: How training went.
        parts: What is scored, where it has labels; the confusion matrix of the last is plotted.
    """
    metrics: dict[str, Any] = {
        "epochs": result.epochs,
        "steps": result.steps,
        "best_epoch": result.best_epoch,
        "train_loss": result.train_loss,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "trained_parameters": sum(p.numel() for p in module.network.trainable_parameters()),
        "bands": [band.name for band in data.bands],
        **module.task.label_table(data),
    }
    if isinstance(data, ImageDataModule) and data.skipped:
        metrics["unreadable_images"] = {part: len(names) for part, names in data.skipped.items()}
    scores: dict[Part, Any] = {}
    for part in parts:
        if data.parts[part]:
            if isinstance(data, SceneDataModule):
                scores[part] = score_as_mapped(
                    bundle, bundle.record, data.parts[part], module.metrics
                )
            else:
                scores[part] = evaluate_part(module, data, part=part)
            metrics[part] = scores[part].as_dict()
            _warn_of_few_labels(scores[part], part)
    _warn_of_weak_points(metrics, result)
    if module.settings.trainer.baseline and module.task.name == "segmentation":
        with optional("the baselines to compare with"):
            metrics["baseline"] = _baselines(module, data, scores)
    return metrics | {"versions": versions()}


def _warn_of_few_labels(scores: Any, part: Part) -> None:
    """Warn of classes with too few labels in a part for a figure."""
    certainty = getattr(scores, "certainty", None)
    if certainty is None:
        return
    names = [one.name for one in scores.classes]  # those without a label are told elsewhere
    told = [f"{name}: {reason}" for name, reason in certainty.without_figure.items()
            if scores.confusion[names.index(name)] != (0,) * len(names)]  # fmt: skip
    if told:
        logger.warning("too few labels in the %s part; %s", part, "; ".join(told[:_MOST_TOLD]))
    if certainty.interval_95:
        low, high = certainty.interval_95["macro_f1"]
        logger.info("%s: macro F1 %.3f, 95 %% interval %.3f to %.3f by polygons", part,
                    scores.macro_f1, low, high)  # fmt: skip


def _baselines(
    module: TaskModule, data: TrainingData, scores: Mapping[Part, Any]
) -> dict[str, dict[Part, Any]]:
    """Return the scores of simple classifiers on the parts that the network was scored on."""
    if not scores:
        return {}
    try:
        found = baseline_scores(data, scores, seed=module.settings.seed)
    except LabelsError as error:
        logger.warning("no baseline to compare with: %s", error)
        return {}
    part = next(iter(scores))  # the test part, if there is one
    compare_with_baselines(
        scores[part], {name: one[part] for name, one in found.items()}, part,
        solved=module.network.solvable,
    )  # fmt: skip
    return {name: {p: s.as_dict() for p, s in one.items()} for name, one in found.items()}


def _warn_of_weak_points(numbers: dict[str, Any], result: FitResult) -> None:
    """Warn of a class that is never predicted, and of a loss that did not fall."""
    part = "test" if "test" in numbers else "validation"
    scores = numbers.get(part, {})
    confusion = np.asarray(scores.get("confusion", np.zeros((0, 0))))  # (reference, predicted)
    never = (confusion.sum(axis=0) == 0) & (confusion.sum(axis=1) > 0)
    missed = [name for name, is_missed in zip(scores.get("classes", ()), never, strict=False)
              if is_missed]  # fmt: skip
    if missed:
        logger.warning(
            "never predicted in the %s part: %s; train longer, add labels, or weight the loss by "
            "class (loss=class_balanced)", part, enumerate_names(missed),
        )  # fmt: skip
    losses = [row["train_loss"] for row in result.history]
    if len(losses) > 1 and not losses[-1] < losses[0]:
        logger.warning(
            "the training loss did not fall (%.4g in the first epoch, %.4g in the last); check the "
            "labels, or change trainer.optimizer.lr", losses[0], losses[-1],
        )  # fmt: skip
