"""The usual average of ``model: auto`` and each of its members alone, without any choice.

    python benchmarks/few_labels_members.py DATA_FOLDER [TASKS] [FOLDS]

Heads and features are the library's own. Members see all training labels of a fold; at most 4,000
test pixels of it are scored. Prints one row per task: the plain classifiers on the bands, the
average, then its members.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import torch
from bench_few_labels import WORK, macro_f1
from few_labels_tasks import tasks
from sklearn.metrics import confusion_matrix

from rsmeta.config.model import HeadSpec, ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import Band
from rsmeta.models.build import build_network
from rsmeta.training.auto.candidates import MOST_BANDS, USUAL, USUAL_MANY

if TYPE_CHECKING:
    from few_labels_tasks import Fold, Task

    from rsmeta.training.auto.candidates import Single

PLAIN: tuple[Single, ...] = (("logistic", {"strength": 1.0}, {}), ("extra_trees", {}, {}))
MOST = 4000
#: How far the widest surroundings reach.
HALO_PX = 3


def windows(task: Task, at: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the surroundings (N, C, 7, 7) of valid pixels, and which of the pixels these are."""
    with rasterio.open(task.scene) as scene:
        image, nodata = scene.read().astype(np.float32), task.data.get("nodata", scene.nodata)
        bad = np.zeros(scene.shape, bool) if nodata is None else (image == nodata).any(axis=0)
        image = image * np.array(scene.scales, np.float32)[:, None, None]
        image += np.array(scene.offsets, np.float32)[:, None, None]
    image[:, bad] = np.nan
    padded = np.pad(image, ((0, 0), *((HALO_PX, HALO_PX),) * 2), constant_values=np.nan)
    side = 2 * HALO_PX + 1
    every = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    kept = ~bad[at]
    return every[:, at[0][kept], at[1][kept]].swapaxes(0, 1), kept


def usual(bands: int) -> tuple[Single, ...]:
    """Return the members of the usual average for so many bands."""
    return USUAL if bands <= MOST_BANDS else USUAL_MANY


def probabilities(
    one: Single, given: tuple[np.ndarray, np.ndarray, np.ndarray], test: np.ndarray, classes: int
) -> np.ndarray:
    """Solve one member, and return what it says of the test pixels, (N, K)."""
    train, labels, groups = given
    name, head, options = one
    bands = [Band(f"b{i}") for i in range(train.shape[1])]
    spec = ModelSpec(backbone="pixels", options=dict(options), head=HeadSpec(name=name, **head))
    network: Any = build_network(
        spec, TunerSpec(), bands=bands, classes=classes, mean=np.zeros(len(bands)),
        std=np.ones(len(bands)),
    )  # fmt: skip
    found = []
    for chips in (train, test):
        parts = []
        for start in range(0, len(chips), 500):
            part = torch.from_numpy(np.ascontiguousarray(chips[start : start + 500]))
            values = network.pixel_features(part.nan_to_num(), part.isfinite().all(dim=1))
            parts.append(values[:, :, HALO_PX, HALO_PX])
        found.append(torch.cat(parts))
    network.head.solve(found[0].numpy(), labels, groups, seed=0)
    said: np.ndarray = network.head.probabilities(found[1]).numpy()
    return said


@torch.inference_mode()
def scores(task: Task, fold: Fold, number: int) -> list[float]:
    """Return the macro-F1 of the plain classifiers, the average, and its members."""
    places = np.nonzero(fold.owners)
    train, kept = windows(task, places)
    labels = task.labels[places][kept].astype(np.int64) - 1
    given = train, labels, fold.owners[places][kept]
    where = np.nonzero(fold.test)
    drawn = np.random.default_rng(number).permutation(len(where[0]))[:MOST]
    where = where[0][drawn], where[1][drawn]
    test, kept = windows(task, where)
    truth = fold.test[where][kept].astype(np.int64) - 1
    members = (*PLAIN, *usual(train.shape[1]))
    said = [probabilities(one, given, test, len(task.classes)) for one in members]
    said.insert(len(PLAIN), np.mean(said[len(PLAIN) :], axis=0))
    every = np.arange(len(task.classes))
    return [macro_f1(confusion_matrix(truth, one.argmax(axis=1), labels=every)) for one in said]


def main() -> None:
    """Print a table, row by row."""
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    data, pattern, folds = (*sys.argv[1:], *("*", "4")[len(sys.argv) - 2 :])
    for name, make in tasks(Path(data), WORK).items():
        if any(fnmatch(name, one) for one in pattern.split(",")):
            task = make()
            found = 100 * np.array([scores(task, task.fold(k), k) for k in range(int(folds))])
            error = found.std(axis=0, ddof=min(len(found) - 1, 1)) / len(found) ** 0.5
            cells = [f"{a:.1f} ± {b:.1f}" for a, b in zip(found.mean(axis=0), error, strict=True)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
