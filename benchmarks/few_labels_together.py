"""Whether a frozen backbone adds anything to the usual average of ``model: auto``.

    python benchmarks/few_labels_together.py DATA_FOLDER [TASKS] [FOLDS]

Prints one row per task: the usual average without any choice, the frozen ViT-S at zoom 4, both
together (as one member more), and how far that is ahead of the average, paired by fold.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_few_labels import FROZEN, WORK, macro_f1, with_weights
from few_labels_frozen import confusion, shares, tested
from few_labels_members import probabilities, usual, windows
from few_labels_tasks import tasks

if TYPE_CHECKING:
    from few_labels_tasks import Task

BACKBONE = "ViT-S, frozen, zoom 4"


@torch.inference_mode()
def scores(task: Task, number: int, data: Path) -> list[float]:
    """Return the macro-F1 of the usual average, of the frozen backbone, and of both together."""
    fold = task.fold(number)
    frozen, truth, _ = shares(task, number, with_weights(FROZEN[BACKBONE], data), WORK)
    places, test = np.nonzero(fold.owners), tested(fold, number)
    train, kept = windows(task, places)
    given = train, task.labels[places][kept].astype(np.int64) - 1, fold.owners[places][kept]
    around, known = windows(task, test)
    members = usual(train.shape[1])
    mean = np.full_like(frozen, np.nan)
    mean[known] = np.mean(
        [probabilities(one, given, around, len(task.classes)) for one in members], axis=0
    )
    both = (len(members) * mean + frozen) / (len(members) + 1)
    return [macro_f1(confusion(truth, said)) for said in (mean, frozen, both)]


def main() -> None:
    """Print a table, row by row."""
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    folder, pattern, folds = (*sys.argv[1:], *("*", "8")[len(sys.argv) - 2 :])
    for name, make in tasks(Path(folder), WORK).items():
        if any(fnmatch(name, one) for one in pattern.split(",")):
            task = make()
            found = 100 * np.array([scores(task, k, Path(folder)) for k in range(int(folds))])
            found = np.column_stack([found, found[:, 2] - found[:, 0]])
            error = found.std(axis=0, ddof=1) / len(found) ** 0.5
            cells = [f"{a:.1f} ± {b:.1f}" for a, b in zip(found.mean(axis=0), error, strict=True)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
