"""What an meta step costs beside a step of the weights on the same batch.

Both are taken in turn in one run, on random images, so that whatever else the machine does falls
on both alike; the figures are medians. The overhead is that of ``meta.every_n_steps`` at its
default.

    python benchmarks/bench_meta_cost.py [BACKBONE] [BATCH] [REPEATS]
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models.build import build_network
from rsmeta.training.meta import STRATEGIES, MetaTask, build_strategy
from rsmeta.training.meta.isolation import isolated

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.models.network import Network
    from rsmeta.training.meta.task import Batch

CLASSES = 5
SIDE_PX = 64


def build(backbone: str) -> Network:
    """Return a network with LoRA at its default sites, its backbone frozen."""
    bands = [generic_band(name) for name in ("blue", "green", "red", "nir")]
    model = ModelSpec(
        backbone=backbone, options={"img_size": SIDE_PX, "patch_size": 8},
        stem={"trainable": False},
    )  # fmt: skip
    return build_network(
        model, TunerSpec(), bands=bands, classes=CLASSES, mean=[0.0] * 4, std=[1.0] * 4
    )


def draw(size: int) -> Batch:
    """Return a batch of noise, every pixel labelled."""
    shape = (size, SIDE_PX, SIDE_PX)
    return {
        "image": torch.randn(size, 4, SIDE_PX, SIDE_PX),
        "valid": torch.ones(shape, dtype=torch.bool),
        "target": torch.randint(CLASSES, shape),
    }


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Time steps of the weights and of the scales in turn; print a table."""
    backbone = sys.argv[1] if len(sys.argv) > 1 else "vit_tiny_patch16_224"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    torch.manual_seed(0)
    network, loss, batch = build(backbone), nn.CrossEntropyLoss(), draw(size)
    optimizer = torch.optim.AdamW(network.trainable_parameters(), lr=1e-3)
    rhos = network.scale_parameters()
    made = {name: build_strategy(MetaSettings(strategy=name), rhos) for name in STRATEGIES.names()}

    def train_step() -> None:
        optimizer.zero_grad()
        loss(network(batch["image"], batch["valid"]), batch["target"]).backward()
        optimizer.step()

    def meta_step(name: str) -> None:
        task = MetaTask(network, rhos, loss, [batch], [batch], optimizer)
        with isolated(network, rhos):
            made[name].update(task)

    train_step()
    seconds: dict[str, list[float]] = {"training": [], **{name: [] for name in made}}
    for _ in range(repeats):
        for name in made:
            seconds["training"].append(timed(train_step))
            seconds[name].append(timed(lambda name=name: meta_step(name)))
    step = statistics.median(seconds["training"])
    every = MetaSettings().every_n_steps
    print(f"{backbone}, {size} images of {SIDE_PX} px, torch {torch.__version__}, ")
    print(f"{torch.get_num_threads()} threads; a step of the weights: {step * 1e3:.0f} ms\n")
    print(f"| strategy | meta step / step of the weights | overhead at every_n_steps={every} |")
    print("|---|---|---|")
    for name in made:
        share = statistics.median(seconds[name]) / step
        print(f"| {name} | {share:.2f} | {share / every:.0%} |")


if __name__ == "__main__":
    main()
