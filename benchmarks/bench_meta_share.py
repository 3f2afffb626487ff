"""What share of training the meta steps take: the real loop on ViT-S, chips read from files.

CPU seconds of ``rsmeta``'s own training loop, in the same run: those within meta steps (their
chips' reading and augmentation too) over those of everything else. Trials before the run are left
out, and what a backward pass takes longer where the scales' gradients come free.

    python benchmarks/bench_meta_share.py DATA_FOLDER [STEPS] [BACKBONE] [STRATEGY ...]
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import seed_everything
from lightning.pytorch.callbacks import Callback
from transfer import COMMON, clouds, machine

from rsmeta.config import load_settings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.losses import build_loss
from rsmeta.metrics import SegmentationMetrics
from rsmeta.models.build import build_network
from rsmeta.training import fit as fitting
from rsmeta.training.meta import MetaStep
from rsmeta.training.module import TaskModule

if TYPE_CHECKING:
    from lightning import Trainer

CHIP_PX, BATCH = 224, 4


class Clock(MetaStep):
    """Outer steps that note what they take."""

    seconds: list[float] = []  # noqa: RUF012 of the run under way, read when it is over

    def step(self, trainer: Trainer, module: TaskModule) -> None:
        """Take a meta step."""
        started = time.process_time()
        super().step(trainer, module)
        self.seconds.append(time.process_time() - started)


class Whole(Callback):
    """Notes what whole periods of ``every_n_steps`` take, meta step included.

    The first period, in which caches fill, is left out.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.marks: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Note the time at the end of each period."""
        if trainer.global_step % self.every == 0:
            self.marks.append(time.process_time())


def share(data: Path, backbone: str, strategy: str, steps: int) -> tuple[float, float, float]:
    """Train; return seconds of a step of the weights, of a meta step, and the overhead."""
    task = clouds(data)
    given = [
        *task.overrides, *COMMON, f"trainer.max_steps={steps}", f"meta={strategy}",
        "meta.every_n_steps=8", f"data.chip_px={CHIP_PX}", f"data.batch_size={BATCH}",
        f"model={{backbone: {backbone}, stem: {{trainable: false}}, head: fpn}}",
    ]  # fmt: skip
    settings = load_settings(task.config, given)
    seed_everything(0, workers=True, verbose=False)
    source = SceneDataModule(settings.scenes, seed=0, meta=settings.meta)
    mean, std = source.statistics
    names = [spec.name for spec in settings.data.classes]
    network = build_network(
        settings.model, settings.tuner, bands=source.bands, classes=len(names), mean=mean,
        std=std, meta=settings.meta,
    )  # fmt: skip
    loss = build_loss(settings.loss, source.class_counts)
    module = TaskModule(network, loss, SegmentationMetrics(names), settings)
    whole = Whole(settings.meta.every_n_steps)
    Clock.seconds.clear()
    fitting.MetaStep = Clock  # type: ignore[misc]
    build = fitting._build_trainer  # noqa: SLF001 to add a clock to its callbacks
    fitting._build_trainer = lambda s, o, c, p: build(s, o, [*c, whole], p)  # noqa: SLF001
    try:
        with tempfile.TemporaryDirectory() as folder:
            fitting.fit(module, source, output=Path(folder))
    finally:
        fitting._build_trainer = build  # noqa: SLF001
    total, meta = whole.marks[-1] - whole.marks[0], Clock.seconds[1:]
    step = (total - sum(meta)) / ((len(whole.marks) - 1) * whole.every)
    return step, sum(meta) / len(meta), sum(meta) / (total - sum(meta))


def main() -> None:
    """Print a table."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    backbone = sys.argv[3] if len(sys.argv) > 3 else "vit_small_patch16_224"
    strategies = sys.argv[4:] or ["first_order", "{preset: first_order, batches: 1}"]
    torch.set_num_threads(1)
    print(f"{machine()}; {backbone}, {BATCH} chips of {CHIP_PX} px, {steps} steps\n")
    print("| strategy | step of the weights, CPU s | meta step, CPU s | ratio | overhead |")
    print("|---|---|---|---|---|")
    for strategy in strategies:
        step, meta, over = share(Path(sys.argv[1]), backbone, strategy, steps)
        print(f"| {strategy} | {step:.2f} | {meta:.2f} | {meta / step:.2f} | {over:.0%} |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
