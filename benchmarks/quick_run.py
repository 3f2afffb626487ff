"""Training runs of a few seconds, for comparisons of hundreds: the real loop, chips from memory.

Data module, network, Lightning loop, meta steps and evaluation are those of ``rsmeta train``.
Left out are what a run leaves (plots, bundle) and reading files: each scene is read once.
"""

from __future__ import annotations

import csv
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import seed_everything
from transfer import COMMON, Task

from rsmeta.config import load_settings
from rsmeta.data import datamodule
from rsmeta.data.chips import ChipDataset
from rsmeta.data.images.chip_images import ChipImages
from rsmeta.losses import build_loss
from rsmeta.models.build import build_network
from rsmeta.tasks import task_of
from rsmeta.training.fit import evaluate_part, fit
from rsmeta.training.module import TaskModule

if TYPE_CHECKING:
    from rsmeta.config import Settings
    from rsmeta.data.images.image_set import Pixels
    from rsmeta.data.sampler import ChipKey
    from rsmeta.tasks.base import TrainingData


class MemoryChips(ChipDataset):
    """Chips cut out of whole scenes that are kept in memory; padded as the real ones are."""

    #: Scenes of the run under way, by identity of their part.
    kept: dict[int, tuple[Any, dict[str, Any]]] = {}  # noqa: RUF012 shared on purpose
    #: Whether labels are shuffled over their scene, so that images say nothing about them.
    shuffled = False

    def __getitem__(self, key: ChipKey) -> dict[str, Any]:
        """Cut out one chip."""
        part = self.scenes[key.scene]
        if id(part) not in self.kept:
            side = max(part.scene.grid.shape) + self.chip_px
            whole = ChipDataset(self.scenes, side)[key._replace(row=0, col=0)]
            if self.shuffled:
                mask = whole["mask"]
                order = torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(0))
                whole["mask"] = mask.flatten()[order].view_as(mask)
            self.kept[id(part)] = (part, whole)
        rows, cols = (slice(at, at + self.chip_px) for at in (key.row, key.col))
        return {
            name: value[..., rows, cols] if name in ("image", "valid", "mask") else value
            for name, value in self.kept[id(part)][1].items()
        }


def _read_once(self: ChipImages, index: int) -> Pixels:
    """Read a chip of a whole-image task, or return what was read before."""
    kept = self.__dict__.setdefault("_kept", {})
    key = tuple(self.places[index].tolist())
    if key not in kept:
        kept[key] = _READ(self, index)
    return kept[key]  # type: ignore[no-any-return]


_READ = ChipImages.read
ChipImages.read = _read_once  # type: ignore[method-assign]
datamodule.ChipDataset = MemoryChips  # type: ignore[misc]


def quick_run(
    task: Task, seed: int, steps: int, *overrides: str, shuffled: bool = False
) -> dict[str, Any]:
    """Train once, with shuffled labels if asked (the scores then say nothing).

    Returns:
        ``accuracy``, ``classes`` (name -> recall and F1 of the test part), ``counts`` (training
        labels by class), ``learned`` numbers, CPU ``seconds`` of the training loop, final
        ``scales`` by site, and ``course``: their means at each meta step.
    """
    MemoryChips.kept.clear()
    MemoryChips.shuffled = shuffled
    given = [*task.overrides, *COMMON, f"trainer.max_steps={steps}", f"seed={seed}", *overrides]
    settings = load_settings(task.config, given)
    seed_everything(seed, workers=True, verbose=False)
    data = task_of(settings).data(settings, meta=settings.meta)
    module = _module(settings, data)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        fit(module, data, output=Path(folder))
        seconds = time.process_time() - started
        course = _course(Path(folder) / "gamma_history.csv")
    test = evaluate_part(module, data, part="test").as_dict()
    counted = "images" if "images" in test else "pixels"
    return {
        "accuracy": test["accuracy"],
        "classes": {
            name: {"recall": one.get("recall", one.get("accuracy")), "f1": one["f1"]}
            for name, one in test["classes"].items()
            if one[counted]
        },
        "counts": task_of(settings).label_table(data)["class_counts"],
        "learned": sum(p.numel() for p in module.network.trainable_parameters()),
        "seconds": round(seconds, 3),
        "scales": course[-1] if course else {},
        "course": [round(sum(at.values()) / len(at), 4) for at in course],
    }


def _module(settings: Settings, data: TrainingData) -> TaskModule:
    task, (mean, std) = task_of(settings), data.statistics
    network = build_network(
        settings.model, settings.tuner, bands=data.bands, classes=task.outputs(data), mean=mean,
        std=std, meta=settings.meta, per_pixel=task.per_pixel,
    )  # fmt: skip
    loss = build_loss(settings.loss, task.loss_statistics(data), task.losses)
    return TaskModule(network, loss, task.metrics(data), settings)


def _course(path: Path) -> list[dict[str, float]]:
    """Return the scales by site, one entry for each step that was noted."""
    if not path.exists():
        return []
    steps: dict[str, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            steps.setdefault(row["step"], {})[row["site"]] = round(float(row["scale"]), 4)
    return list(steps.values())
