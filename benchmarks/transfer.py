"""The transfer tasks that several benchmarks train on, and how a run of them is scored.

``landsat``: the nano backbone, pretrained on synthetic places, adapted to a Landsat-8-like
landscape's west and tested on its east. ``clouds``: trained on Landsat 5 and 7, tested on
Sentinel-2 (real scenes; the folder of ``configs/experiments/cloudmask.yaml``).
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import rsmeta
from rsmeta.sample_data import make_landscape

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]

#: Long runs only repeat themselves: validation would cost as much as training here.
COMMON = ("trainer.keep=last", "trainer.check_val_every_n_epoch=1000", "trainer.max_epochs=1000")


@dataclass(frozen=True)
class Task:
    """A configuration with its data."""

    config: Path
    overrides: tuple[str, ...]


def landsat(folder: Path) -> Task:
    """Make the landscape in a folder, and return the task."""
    made = make_landscape(folder, sensor="landsat8")
    given = (f"data.root={made.folder}", "data.test_scenes=[east_landsat8.tif]")
    return Task(ROOT / "configs" / "experiments" / "demo.yaml", given)


def clouds(data: Path) -> Task:
    """Return the task on the real scenes in ``data/cloudmask``."""
    config = ROOT / "configs" / "experiments" / "cloudmask.yaml"
    given = (f"data.root={data / 'cloudmask'}", "data.chip_px=32", "model=satmae_nano",
             "tuner=lora")  # fmt: skip
    return Task(config, given)


def score(task: Task, seed: int, steps: int, *overrides: str) -> dict[str, Any]:
    """Train once; return the test scores, with ``seconds`` of training and ``learned`` numbers."""
    started = time.process_time()
    given = [*task.overrides, *COMMON, f"trainer.max_steps={steps}", f"seed={seed}", *overrides]
    metrics = train_and_test(task.config, given)
    test = metrics["test"]
    tail = sorted(
        (entry["pixels"], entry["f1"] or 0.0)
        for entry in test["classes"].values()
        if entry["pixels"]
    )
    rare = [f1 for _, f1 in tail[: max(len(tail) // 3, 1)]]
    return {
        "accuracy": test["accuracy"],
        "macro_f1": test["macro_f1"],
        "tail_f1": sum(rare) / len(rare),
        "learned": metrics["trained_parameters"],
        "seconds": time.process_time() - started,
    }


def train_and_test(config: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Train once, in a folder that does not stay; return the metrics."""
    with tempfile.TemporaryDirectory() as output:
        return rsmeta.train(config, overrides, output=Path(output) / "run").metrics


def row(label: str, task: Task, seeds: int, steps: int, *overrides: str) -> str:
    """Train with several seeds; return a row: scores as mean ± deviation, seconds, numbers."""
    runs = [score(task, seed, steps, *overrides) for seed in range(seeds)]
    cells = [_cell([run[key] for run in runs]) for key in ("accuracy", "macro_f1", "tail_f1")]
    seconds = statistics.mean(run["seconds"] for run in runs)
    return f"| {label} | {' | '.join(cells)} | {runs[0]['learned']:,} | {seconds:.0f} |"


HEADER = (
    "| | accuracy | macro F1 | F1 of the rarest third | learns | CPU seconds |\n"
    "|---|---|---|---|---|---|"
)


def machine() -> str:
    """Say on what and when a table was made."""
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


def _cell(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"
