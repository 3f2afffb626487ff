"""Former and present defaults of training, on the same held-out labels.

    python benchmarks/bench_defaults.py DATA OUT.csv [TASK ...]

DATA holds the folders of public imagery that the experiments name. One row per task, fold (or seed)
and set of defaults is appended as it comes; rows that are there are not computed again.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rsmeta

#: What was the default: 20 epochs of 800 chips, no early stopping, brightness changed always.
FORMER = [
    "data.chips_per_epoch=800", "trainer.early_stopping=null",
    "data.augment={gain: 0.2, band_gain: 0.1}",
]  # fmt: skip
DEFAULTS = {"former": FORMER, "present": []}

RUNS = 8

#: Experiment, and what makes run k of 8 of it: a fold of whole polygons, or a seed of blocks.
TASKS: dict[str, tuple[str, str, list[str]]] = {
    "beaufort": ("beaufort", "beaufort_s2", ["model=vit_nano", "tuner=full"]),
    "slovenia": ("slovenia", "slovenia_s2", ["data.scenes=[scene_0.tif]"]),
    "cloudmask": ("cloudmask", "cloudmask", [
        "data.scenes=[landsat7.tif]", "data.test_scenes=[]", "trainer={}", "data.augment={}",
    ]),
}  # fmt: skip


def held_out(task: str, run: int) -> list[str]:
    """Return what holds out the test labels of a run; the seed of training goes with it."""
    if task == "beaufort":
        return [f"data.split={{folds: 4, repeats: 2, fold: {run}, validation: 0.2}}", "seed=0"]
    return ["data.split={validation: 0.2, test: 0.25}", f"seed={run}"]


def measure(data: Path, task: str, run: int, more: list[str]) -> dict[str, Any]:
    """Train once; return scores, steps and seconds."""
    experiment, folder, changed = TASKS[task]
    words = [f"data.root={data / folder}", *changed, *held_out(task, run), *more]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as output:
        metrics = rsmeta.train(
            Path("configs/experiments") / f"{experiment}.yaml", words, output=Path(output) / "run"
        ).metrics
    forest = metrics.get("baseline", {}).get("forest", {}).get("test", {})
    return {
        "macro_f1": metrics["test"]["macro_f1"], "miou": metrics["test"]["miou"],
        "forest_macro_f1": forest.get("macro_f1"), "steps": metrics["steps"],
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def main() -> None:
    """Measure what is missing in the table."""
    data, table, *tasks = map(str, sys.argv[1:])
    file = Path(table)
    done = set()
    if file.exists():
        with file.open(newline="") as text:
            done = {(row["task"], row["run"], row["defaults"]) for row in csv.DictReader(text)}
    for run in range(RUNS):
        for task in tasks or TASKS:
            for name, more in DEFAULTS.items():
                if (task, str(run), name) in done:
                    continue
                row = {"task": task, "run": run, "defaults": name}
                row |= measure(Path(data), task, run, more)
                fresh = not file.exists()
                with file.open("a", newline="") as text:
                    writer = csv.DictWriter(text, list(row))
                    if fresh:
                        writer.writeheader()
                    writer.writerow(row)


if __name__ == "__main__":
    main()
