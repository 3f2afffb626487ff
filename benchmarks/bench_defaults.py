"""Steps per epoch, patience and augmentation of training: the defaults beside others.

The nano backbone is adapted (LoRA) on a crop of a scene, and tested on the crop beside it, or on a
crop of another sensor's scene: eight pairs of crops, which all settings share.

    python benchmarks/bench_defaults.py run RESULTS.csv DATA_FOLDER [TASKS] [SETTINGS] [PAIRS]
    python benchmarks/bench_defaults.py table RESULTS.csv

TASKS and SETTINGS are names divided by semicolons, or ``all``. A row is appended as it comes, and
is not computed again. ``table`` rewrites the table in ``benchmarks/defaults.md``.
"""

from __future__ import annotations

import csv
import itertools
import logging
import math
import statistics
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import rasterio
from bench_few_labels import MARKS, WORK, macro_f1
from few_labels_tasks import COVER
from rasterio.windows import Window
from transfer import ROOT

import rsmeta
from rsmeta.config import load_settings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.sample_data import make_landscape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


PAGE = ROOT / "benchmarks" / "defaults.md"

#: Side of a crop: it has some 60 cells of 16 px, by which steps are counted.
CROP_PX = 120


class Task(NamedTuple):
    """Which crops are trained on and tested.

    Attributes:
        train: Scene and labels of training, by the names of ``_scenes``.
        test: The same of the test, which sees other crops.
        classes: Label values by class.
        squares: How many squares of 8 x 8 px are labelled; none: every pixel.
    """

    train: str
    test: str
    classes: Mapping[str, tuple[int, ...]]
    squares: int | None = None


_CLOUDS = {"clear": (3,), "water": (1,), "shadow": (0,), "cloud": (4,)}

TASKS: Mapping[str, Task] = {
    "dense labels": Task("landscape", "landscape", COVER[20]),
    "40 squares": Task("landscape", "landscape", COVER[20], squares=40),
    "another sensor": Task("landsat7", "landsat5", _CLOUDS),
}

#: What ``data.augment.transfer`` turns on.
_GAIN = {"augment": {"transfer": True}}

#: Steps of an epoch as a multiple of the default; settings of the trainer, and of the data.
SETTINGS: Mapping[str, tuple[float, Mapping[str, Any], Mapping[str, Any]]] = {
    "default": (1, {}, {}),
    "half the steps": (0.5, {}, {}),
    "twice the steps": (2, {}, {}),
    "four times the steps": (4, {}, {}),
    "patience 6, however few steps": (1, {"early_stopping": 6}, {}),
    "gain and band gain": (1, {}, _GAIN),
}
REFERENCE = "default"
PAIRS = 8


def run_one(data: Path, number: int, task: Task, setting: str) -> dict[str, Any]:
    """Train once on a crop; return the score on the crop to test, steps and seconds."""
    factor, trainer, given = SETTINGS[setting]
    scenes = _scenes(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_crop(scenes[task.train], folder / "train", 2 * number, task)
        every = task._replace(squares=None)
        write_crop(scenes[task.test], folder / "test", 2 * number + 1, every)
        classes = dict(enumerate(task.classes, start=1))
        chips: dict[str, Any] = {
            "root": name, "scenes": ["train.tif"], "labels": "train_labels.tif", "ignore": [0],
            "classes": classes, "chip_px": 32, "batch_size": 8, **given,
        }  # fmt: skip
        settings = {
            "data": chips,
            "model": "satmae_nano",
            "tuner": "lora",
            "trainer": {"baseline": False, "optimizer": {"lr": 0.01}, **trainer},
        }
        usual = SceneDataModule(load_settings(settings).scenes, seed=0).chips_per_epoch
        chips["chips_per_epoch"] = 8 * max(round(factor * usual / 8), 1)
        started, busy = time.monotonic(), time.process_time()
        run = rsmeta.train(settings, output=folder / "run")
        spent = {"seconds": round(time.monotonic() - started, 1),
                 "cpu_seconds": round(time.process_time() - busy, 1)}  # fmt: skip
        tested = {**chips, "scenes": ["test.tif"], "labels": "test_labels.tif",
                  "split": {"validation": 0}}  # fmt: skip
        found = rsmeta.evaluate(folder / "run" / "bundle", {"data": tested}, split="train")
    score = macro_f1(np.array(found.as_dict()["confusion"]))
    return {"macro_f1": round(score, 4), "batches": chips["chips_per_epoch"] // 8,
            "steps": run.metrics["steps"], "best_epoch": run.metrics["best_epoch"],
            "epochs": run.metrics["epochs"], **spent}  # fmt: skip


@cache
def _scenes(data: Path) -> dict[str, tuple[Path, Path]]:
    """Return scenes and their labels by name."""
    west = make_landscape(WORK / "landscapes")
    found = {"landscape": (west.scenes[0], west.labels[0])}
    for stem in ("landsat7", "landsat5"):
        folder = data / "cloudmask"
        found[stem] = (folder / f"{stem}.tif", folder / f"{stem}_mask.tif")
    return found


def write_crop(files: tuple[Path, Path], path: Path, number: int, task: Task) -> None:
    """Write one of 16 crops of a scene, and its labels: all of them, or squares."""
    row, col = divmod(number, 4)
    window = Window(col * CROP_PX, row * CROP_PX, CROP_PX, CROP_PX)
    for source, end in zip(files, (".tif", "_labels.tif"), strict=True):
        with rasterio.open(source) as file:
            values, profile = file.read(window=window), file.profile
            profile |= {"transform": file.window_transform(window)}
            scales, offsets, names = file.scales, file.offsets, file.descriptions
        profile |= {"width": CROP_PX, "height": CROP_PX}
        if end == "_labels.tif":
            values, profile["nodata"] = _labels(values, task, number), None
        with rasterio.open(f"{path}{end}", "w", **profile) as file:
            file.write(values)
            file.scales, file.offsets, file.descriptions = scales, offsets, names


def _labels(values: np.ndarray, task: Task, number: int) -> np.ndarray:
    labels = np.zeros_like(values)
    for place, mine in enumerate(task.classes.values(), start=1):
        labels[np.isin(values, mine)] = place
    if task.squares is None:
        return labels
    rng, kept = np.random.default_rng(number), np.zeros(labels.shape, bool)
    for row, col in rng.integers(0, CROP_PX - 8, (task.squares, 2)):
        kept[:, row : row + 8, col : col + 8] = True
    return np.where(kept, labels, 0).astype(labels.dtype)


def run_all(table: Path, data: Path, chosen: Sequence[Sequence[str]], pairs: int) -> None:
    """Run what is missing in the table, pair by pair."""
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    done = {key(row) for row in read(table)}
    for number, name, setting in itertools.product(range(pairs), *chosen):
        if (name, str(number), setting) in done:
            continue
        row = {"task": name, "pair": number, "setting": setting}
        row |= run_one(data, number, TASKS[name], setting)
        fresh = not table.exists()
        with table.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)


def read(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table; none if there is none."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def key(row: Mapping[str, str]) -> tuple[str, str, str]:
    """Return what a row is about."""
    return row["task"], row["pair"], row["setting"]


def shown(rows: list[dict[str, str]]) -> str:
    """Return scores, paired differences to the default, and what they cost."""
    by_key = {key(row): row for row in rows}
    names = ("task", "setting", "pairs", "batches per epoch", "steps", "macro-F1", "- default",
             "CPU seconds")  # fmt: skip
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name, setting in itertools.product(TASKS, SETTINGS):
        own = [row for row in rows if (row["task"], row["setting"]) == (name, setting)]
        if not own:
            continue
        pairs = [(row, by_key.get((name, row["pair"], REFERENCE))) for row in own]
        gains = [float(a["macro_f1"]) - float(b["macro_f1"]) for a, b in pairs if b]
        cells = [f"{statistics.mean(float(row[k]) for row in own):.0f}"
                 for k in ("batches", "steps", "cpu_seconds")]  # fmt: skip
        difference = "" if setting == REFERENCE else _with_error(gains, "+")
        lines.append(
            f"| {name} | {setting} | {len(own)} | {cells[0]} | {cells[1]} | "
            f"{_with_error([float(row['macro_f1']) for row in own])} | {difference} | {cells[2]} |"
        )
    return "\n".join(lines)


def _with_error(values: list[float], sign: str = "") -> str:
    if len(values) < 2:
        return "".join(f"{100 * value:{sign}.1f}" for value in values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * statistics.mean(values):{sign}.1f} ± {100 * error:.1f}"


def main() -> None:
    """Run, or rewrite the table."""
    words = sys.argv[1:]
    if words[:1] == ["table"] and len(words) == 2:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
        after, table = rest.partition(MARKS[1])[2], shown(read(Path(words[1])))
        PAGE.write_text(f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}", encoding="utf-8")
        return
    if words[:1] != ["run"] or not 3 <= len(words) <= 6:
        sys.exit(__doc__)
    names, settings, pairs = (*words[3:], *("all", "all", str(PAIRS))[len(words) - 3 :])
    chosen = [
        list(known) if given == "all" else [one for one in known if one in given.split(";")]
        for given, known in ((names, TASKS), (settings, SETTINGS))
    ]
    run_all(Path(words[1]), Path(words[2]), chosen, int(pairs))


if __name__ == "__main__":
    main()
