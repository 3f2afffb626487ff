"""Cross-validation: train once per group of held-out polygons, and pool what was found there."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.metrics.segmentation import scores_from_confusion
from rsmeta.training.duration import TimeLeft
from rsmeta.workflows.run_folder import METRICS_FILE, check_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rsmeta.config import Settings

logger = logging.getLogger(__name__)

#: Scores whose mean and spread are reported.
_SCORES = ("accuracy", "miou", "macro_f1", "kappa")


def cross_validate(
    settings: Settings,
    output: Path,
    train_fold: Callable[[Settings, Path], Mapping[str, Any]],
) -> dict[str, Any]:
    """Train on all groups of polygons but one, for each of them; a finished one is not repeated.

    Args:
        settings: Those of the whole; ``data.split.folds`` is set.
        output: Folder of the runs.
        train_fold: Trains one of them in its folder, and returns its metrics.

    Returns:
        Mean and standard error of each score over the runs, the scores of all held-out pixels
        together, with their confusion matrix, and those of each run.
    """
    split = settings.scenes.split
    assert split.folds is not None
    count = split.folds * split.repeats
    finished = sum((output / f"{fold:02d}" / METRICS_FILE).exists() for fold in range(count))
    found, left, more = [], TimeLeft(count - finished), ""
    for fold in range(count):
        folder = output / f"{fold:02d}"
        one = _of_fold(settings, fold)
        if (folder / METRICS_FILE).exists():
            check_run(folder, one, resume=True)
            metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        else:
            logger.info("cross-validation: run %d of %d%s", fold + 1, count, more)
            metrics = train_fold(one, folder)
            more = left.after_one()
        if "test" in metrics:  # a group may hold no labelled pixel
            found.append(metrics)
    return _pooled(found, [spec.name for spec in settings.scenes.classes])


def _of_fold(settings: Settings, fold: int) -> Settings:
    data = settings.scenes
    split = data.split.model_copy(update={"fold": fold})
    return settings.model_copy(update={"data": data.model_copy(update={"split": split})})


def _pooled(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    found = [one["test"] for one in runs]
    summary: dict[str, Any] = {"runs": len(found), **_means(found)}
    baselines = {name: one for name, one in _baselines(runs).items() if len(one) == len(found)}
    if found and baselines:
        summary["baseline"] = {
            name: {**_means(own), "difference": _means(_differences(found, own))}
            for name, own in baselines.items()
        }
    confusion = np.sum([one["confusion"] for one in found], axis=0).astype(np.int64)
    pooled = scores_from_confusion(confusion.reshape(len(names), len(names)), names).as_dict()
    shown = ", ".join(
        f"{score} {summary[score]['mean']:.3f} ± {summary[score]['standard_error'] or math.nan:.3f}"
        for score in _SCORES if score in summary
    )  # fmt: skip
    logger.info("cross-validation over %d runs: %s; all held-out pixels together: macro F1 %.3f",
                len(found), shown, pooled["macro_f1"])  # fmt: skip
    return {**summary, "pooled": pooled, "folds": found}


def _means(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and standard error of each score over runs."""
    means = {}
    for score in _SCORES:
        values = [one[score] for one in found if one[score] is not None]
        if values:
            error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
            means[score] = {
                "mean": float(np.mean(values)),
                "standard_error": None if error is None else float(error),
            }
    return means


def _baselines(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the scores of each baseline on the held-out pixels of the runs that have them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in runs:
        for name, parts in (one.get("baseline") or {}).items():
            if "test" in parts:
                found.setdefault(name, []).append(parts["test"])
    return found


def _differences(
    own: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> list[dict[str, float | None]]:
    """Return by how much each score is above that of the same held-out pixels."""
    return [
        {
            score: None if None in (mine[score], theirs[score]) else mine[score] - theirs[score]
            for score in _SCORES
        }
        for mine, theirs in zip(own, others, strict=True)
    ]
