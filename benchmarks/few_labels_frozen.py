"""Frozen backbones of ``bench_few_labels.py``: features once per task, a head for every fold.

Features and heads are the library's own. What a frozen backbone sees of a pixel does not depend on
the fold, so that all labelled pixels of a task go through it once. At most ``MOST`` test pixels of
a fold are scored, each in the chip that it is most central in.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from few_labels_tasks import FOLDS, REPEATS
from sklearn.metrics import confusion_matrix

from rsmeta.bundle.as_backbone import build_from
from rsmeta.config import load_settings
from rsmeta.config.tuner import TunerSpec
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.labelled_places import labelled_places
from rsmeta.training.pixel_features import features_at, windows_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from few_labels_tasks import Fold, Task

    from rsmeta.heads import SolvedHead

MOST = 4000


class Features(NamedTuple):
    """What a frozen backbone sees of the pixels that any fold of a task needs.

    Attributes:
        row: Row of ``values`` of each pixel of the scene, (H, W) int32; -1: it is in none.
        values: (N, F) float32.
        window: Number of the window that each pixel is seen in, (N,).
        seconds: CPU seconds per window.
        head: Head for these features, to be solved.
    """

    row: np.ndarray
    values: np.ndarray
    window: np.ndarray
    seconds: float
    head: SolvedHead


def tested(fold: Fold, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the test pixels of a fold that are scored."""
    rows, cols = np.nonzero(fold.test)
    drawn = np.random.default_rng(number).permutation(len(rows))[:MOST]
    return rows[drawn], cols[drawn]


def shares(
    task: Task, number: int, model: Mapping[str, Any], folder: Path
) -> tuple[np.ndarray, np.ndarray, float]:
    """Solve the head of a frozen backbone on a fold.

    Args:
        task: Scene and labels.
        number: Of the fold.
        model: Settings of backbone and head.
        folder: For labels as a file.

    Returns:
        Probabilities (N, K) of the test pixels, NaN where they are not valid; their classes, from
        0, (N,); and CPU seconds of training.
    """
    seen, fold = _features(task, json.dumps(model), folder), task.fold(number)
    started = time.process_time()
    at = np.nonzero(fold.owners)
    rows = seen.row[at]
    at, rows = (at[0][rows >= 0], at[1][rows >= 0]), rows[rows >= 0]
    seen.head.solve(seen.values[rows], task.labels[at].astype(np.int64) - 1, fold.owners[at],
                    seed=0)  # fmt: skip
    spent = time.process_time() - started + seen.seconds * len(np.unique(seen.window[rows]))
    test = tested(fold, number)
    rows = seen.row[test]
    said = np.full((len(rows), len(task.classes)), np.nan, np.float32)
    with torch.inference_mode():
        values = torch.from_numpy(seen.values[rows[rows >= 0]])
        said[rows >= 0] = seen.head.probabilities(values).numpy()
    return said, fold.test[test].astype(np.int64) - 1, spent


def frozen(
    task: Task, number: int, model: Mapping[str, Any], folder: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the confusion matrix of a frozen backbone on a fold, and what it cost."""
    said, truth, seconds = shares(task, number, model, folder)
    return confusion(truth, said), {"cpu_seconds": round(seconds, 2), "pixels": len(truth)}


def confusion(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Return the confusion matrix of classes (N,) and probabilities (N, K), where there are any."""
    known = np.isfinite(said).all(axis=1)
    labels = np.arange(said.shape[1])
    return cast(
        "np.ndarray", confusion_matrix(truth[known], said[known].argmax(axis=1), labels=labels)
    )


@lru_cache(maxsize=4)
def _features(task: Task, model: str, folder: Path) -> Features:
    """Compute the features of all pixels that any fold trains on or tests."""
    wanted = np.zeros(task.labels.shape, bool)
    for number in range(FOLDS * REPEATS):
        fold = task.fold(number)
        wanted |= fold.owners > 0
        wanted[tested(fold, number)] = True
    labels = task.write_raster(task.labels, folder / "all.tif")
    data = {"scenes": [str(task.scene)], "labels": str(labels), "ignore": [0],
            "classes": dict(enumerate(task.classes, start=1)), **task.data,
            "split": {"validation": 0}}  # fmt: skip
    settings = load_settings({"data": data, "model": json.loads(model)})
    module = SceneDataModule(settings.scenes, seed=0)
    mean, std = module.statistics
    network = build_from(settings.model, TunerSpec(), bands=module.bands,
                         classes=len(task.classes), mean=mean, std=std)  # fmt: skip
    scenes = [one.labelled for one in module.parts["train"]]
    places = labelled_places(scenes, module.settings)
    places = places.take(wanted[places.row, places.col])
    started = time.process_time()
    values = features_at(network, scenes, places, chip_px=module.settings.chip_px)
    spent = time.process_time() - started
    windows = windows_of(network, scenes, places, module.settings.chip_px)
    _, window = np.unique(windows, axis=0, return_inverse=True)
    row = np.full(task.labels.shape, -1, np.int32)
    row[places.row, places.col] = np.arange(len(places.row))
    return Features(row, values, window.ravel(), spent / (window.max() + 1),
                    cast("SolvedHead", network.head))  # fmt: skip
