"""Few labels: classical classifiers, frozen backbones, adapted networks and ``model: auto``.

Every task of ``few_labels_tasks.py`` is run in 5 x 2 grouped folds: whole polygons, fields or
blocks are held out. Results are kept line by line, so that a stopped run can be resumed:

    python benchmarks/bench_few_labels.py run RESULTS.jsonl DATA_FOLDER [METHODS] [TASKS] [FOLDS]
    python benchmarks/bench_few_labels.py table RESULTS.jsonl

METHODS and TASKS are names, or patterns such as ``landscape*``, divided by commas; ``all`` for all.
``table`` rewrites the table in ``benchmarks/few_labels.md``. DATA_FOLDER holds the shared scenes;
the real weights lie beside it, in ``weights``.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import statistics
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from few_labels_frozen import frozen
from few_labels_tasks import FOLDS, REPEATS, Fold, Task, pixels, tasks
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transfer import ROOT, machine

import rsmeta
from rsmeta.errors import RsmetaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PAGE = ROOT / "benchmarks" / "few_labels.md"
MARKS = ("<!-- table -->", "<!-- end of table -->")
WORK = ROOT / "build" / "few_labels"
VIT = "dinov2_vits14_focus.fp16.safetensors"

#: scikit-learn on the bands of single pixels: what one would do without this library.
CLASSICAL: Mapping[str, Callable[[], Any]] = {
    "random forest": lambda: RandomForestClassifier(300, random_state=0),
    "extra-trees": lambda: ExtraTreesClassifier(300, random_state=0),
    "logistic": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)
    ),
}

_LOCAL = {"backbone": "pixels", "options": {"context": [3, 7]}}
_VIT = {"backbone": "vit_small_patch14_dinov2", "checkpoint": VIT,
        "options": {"img_size": 56, "depth": 9}}  # fmt: skip
_HEAD = {"name": "logistic", "depths": [3, 6, 8]}
_ADAPTED = {"max_epochs": 20, "early_stopping": 5, "baseline": False}

#: What is given to ``rsmeta.train`` beside the data.
TRAINED: Mapping[str, Mapping[str, Any]] = {
    "random forest + context": {"model": {**_LOCAL, "head": {"name": "forest", "trees": 300}}},
    "extra-trees + context": {"model": {**_LOCAL, "head": {"name": "extra_trees", "trees": 300}}},
    "logistic + context": {"model": {**_LOCAL, "head": "logistic"}},
    "nano, LoRA": {
        "model": "satmae_nano", "tuner": "lora",
        "data": {"chip_px": 32, "batch_size": 8, "chips_per_epoch": 80},
        "trainer": {**_ADAPTED, "optimizer": {"lr": 0.003}},
    },
    "ViT-S, LoRA, zoom 4": {
        "model": {**_VIT, "zoom": 4}, "tuner": "lora",
        "data": {"chip_px": 16, "batch_size": 8, "chips_per_epoch": 80},
        "trainer": {**_ADAPTED, "max_epochs": 10, "optimizer": {"lr": 0.001}},
    },
    "auto": {"model": "auto"},
}  # fmt: skip

#: Models whose features are computed once per task, and only the head fold by fold.
FROZEN: Mapping[str, Mapping[str, Any]] = {
    "nano, frozen": {"preset": "satmae_nano", "head": "logistic"},
    "ViT-S, frozen": {**_VIT, "head": _HEAD},
    "ViT-S, frozen, zoom 4": {**_VIT, "zoom": 4, "head": _HEAD},
}

METHODS = (*CLASSICAL, *FROZEN, *TRAINED)
REFERENCE = "random forest"


def run_all(results: Path, data: Path, chosen: Sequence[Sequence[str]], folds: int) -> None:
    """Run what is missing in the file, task by task, and append it as it comes."""
    methods, names = chosen
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    results.parent.mkdir(parents=True, exist_ok=True)
    made = tasks(data, WORK)
    done = {key(line) for line in read(results)}
    for name in names:
        wanted = itertools.product(methods, range(folds))
        missing = [(method, number) for method, number in wanted
                   if (name, number, method) not in done]  # fmt: skip
        task = made[name]() if missing else None
        for method, number in missing:
            line = {"task": name, "fold": number, "method": method, "machine": machine()}
            line |= run_one(cast("Task", task), number, method, data)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(name, number, method, line.get("macro_f1"), line.get("seconds"), flush=True)


def run_one(task: Task, number: int, method: str, data: Path) -> dict[str, Any]:
    """Return the scores of one method on one fold, or why there are none."""
    try:
        if method in FROZEN:
            confusion, spent = frozen(task, number, with_weights(FROZEN[method], data), WORK)
        elif method in CLASSICAL:
            confusion, spent = classical(task, task.fold(number), CLASSICAL[method]())
        else:
            settings = dict(TRAINED[method])
            settings["model"] = with_weights(settings["model"], data)
            confusion, spent = trained(task, task.fold(number), settings)
    except RsmetaError as error:
        return {"error": str(error)}
    return {"macro_f1": round(macro_f1(confusion), 4), **spent, "confusion": confusion.tolist()}


class Clock:
    """Seconds and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._started, self._busy = time.monotonic(), time.process_time()

    def read(self) -> dict[str, Any]:
        """Return both by name."""
        seconds, busy = time.monotonic() - self._started, time.process_time() - self._busy
        return {"seconds": round(seconds, 2), "cpu_seconds": round(busy, 2)}


def classical(task: Task, fold: Fold, classifier: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Fit on the bands of the training pixels; return the confusion matrix of the test pixels."""
    clock = Clock()
    train, labels, test, truth = pixels(task, fold)
    said = classifier.fit(train, labels).predict(test)
    spent = clock.read()
    return confusion_matrix(truth, said, labels=np.arange(len(task.classes)) + 1), spent


def trained(
    task: Task, fold: Fold, settings: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train by the library, on polygons; score the bundle on the raster of test labels."""
    classes = dict(enumerate(task.classes, start=1))
    with tempfile.TemporaryDirectory() as name:
        train, test = task.write(fold, Path(name))
        data = {"scenes": [str(task.scene)], "labels": str(train), "class_column": "class",
                "classes": classes, **task.data, **settings.get("data", {})}  # fmt: skip
        clock = Clock()
        run = rsmeta.train({**settings, "data": data}, output=Path(name) / "run")
        spent = clock.read()
        scored = {**data, "labels": str(test), "ignore": [0], "split": {"validation": 0}}
        del scored["class_column"]
        found = rsmeta.evaluate(Path(name) / "run" / "bundle", {"data": scored}, split="train")
    if chosen := run.metrics.get("selection"):
        spent["chosen"] = chosen["chosen"]
    return np.array(found.as_dict()["confusion"]), spent


def with_weights(model: Any, data: Path) -> Any:
    """Return settings of a model whose checkpoint is a path."""
    if not isinstance(model, dict) or "checkpoint" not in model:
        return model
    path = data.parent / "weights" / model["checkpoint"]
    return {**model, "checkpoint": str(path.resolve())}


def macro_f1(confusion: np.ndarray) -> float:
    """Return the mean F1 over the classes that occur in truth or prediction."""
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float((2 * np.diag(confusion)[total > 0] / total[total > 0]).mean())


def read(results: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results; none if there is none."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def key(line: Mapping[str, Any]) -> tuple[str, int, str]:
    """Return what a line is about."""
    return line["task"], line["fold"], line["method"]


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return scores by method and task, then what each method gains over the reference."""
    runs = {key(line): line for line in lines if "macro_f1" in line}
    names = list(dict.fromkeys(task for task, _, _ in runs))
    methods = [method for method in METHODS if any(m == method for _, _, m in runs)]
    rows = ["| task | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for name in names:
        cells = [_cell([r["macro_f1"] for k, r in runs.items() if k[0] == name and k[2] == m])
                 for m in methods]  # fmt: skip
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    rows += ["", f"| method | tasks | - {REFERENCE} | least - best of {', '.join(CLASSICAL)} | "
             "CPU seconds (median, most) |", "|---|---|---|---|---|"]  # fmt: skip
    rows += [_summary(runs, names, method) for method in methods]
    return "\n".join(rows)


def _summary(runs: Mapping[Any, Mapping[str, Any]], names: Sequence[str], method: str) -> str:
    """Return how far a method is from the classical ones, on the folds that both have run."""
    gains, worst, seconds = [], (math.inf, ""), []
    for name in names:
        numbers = [k[1] for k in runs if k[0] == name and k[2] == method]
        seconds += [runs[name, number, method]["cpu_seconds"] for number in numbers]
        means = {
            m: statistics.mean(runs[name, number, m]["macro_f1"] for number in numbers)
            for m in (*CLASSICAL, method)
            if numbers and all((name, number, m) in runs for number in numbers)
        }
        if len(means) < len({*CLASSICAL, method}):
            continue
        gains.append(means[method] - means[REFERENCE])
        worst = min(worst, (means[method] - max(means[m] for m in CLASSICAL), name))
    if not gains:
        return f"| {method} | 0 | | | |"
    spent = f"{statistics.median(seconds):.1f}, {max(seconds):.0f}"
    return (f"| {method} | {len(gains)} | {_signed(gains)} | {100 * worst[0]:+.1f} ({worst[1]}) | "
            f"{spent} |")  # fmt: skip


def _cell(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{100 * values[0]:.1f}" if values else ""
    error = statistics.stdev(values) / math.sqrt(len(values))
    few = "" if len(values) == FOLDS * REPEATS else f" ({len(values)})"
    return f"{100 * statistics.mean(values):.1f} ± {100 * error:.1f}{few}"


def _signed(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{100 * values[0]:+.1f}"
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * statistics.mean(values):+.1f} ± {100 * error:.1f}"


def _chosen(word: str, names: Iterable[str]) -> list[str]:
    """Return the names that a word of the command line stands for."""
    wanted = ["*"] if word == "all" else word.split(",")
    return [name for name in names if any(fnmatch(name, one) for one in wanted)]


def main() -> None:
    """Run, or rewrite the table."""
    words = sys.argv[1:]
    if words[:1] == ["table"] and len(words) == 2:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        shown = table(read(Path(words[1])))
        PAGE.write_text(f"{before}{MARKS[0]}\n{shown}\n{MARKS[1]}{after}", encoding="utf-8")
        return
    if words[:1] != ["run"] or not 3 <= len(words) <= 6:
        sys.exit(__doc__)
    methods, names, folds = (*words[3:], *("all", "all", str(FOLDS * REPEATS))[len(words) - 3 :])
    data = Path(words[2])
    chosen = (_chosen(methods, METHODS), _chosen(names, tasks(data, WORK)))
    run_all(Path(words[1]), data, chosen, int(folds))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
