"""Training: a step against HF peft's and full fine-tuning's, and a meta step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import timm
import torch
from bench_adapters import IMAGE_PX, PEFT, RANK, Classifier, tuned, with_peft
from torch import nn
from torch.nn import functional

from rsmeta.config.meta import MetaSettings
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models.build import build_network
from rsmeta.training.meta import MetaTask, build_strategy
from rsmeta.training.meta.isolation import isolated

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench import Bench

CLASSES = 10


def training(bench: Bench) -> None:
    """Time steps (forward, backward, AdamW) in bfloat16; each way alone, twice in turns."""
    name = bench.sizes.networks["vit-b"]
    ways: dict[str, Callable[[], nn.Module]] = {
        PEFT: lambda: with_peft(name, checkpointing=False),
        f"rsmeta lora, rank {RANK}": lambda: tuned(name, "lora", checkpointing=False),
        "full fine-tuning, timm": lambda: timm.create_model(name, num_classes=0),
        "full fine-tuning, rsmeta": lambda: tuned(name, "full", checkpointing=False),
    }
    for turn in (1, 2):
        for what, build in ways.items():
            bench.try_(what, partial(_train, bench, what, build, turn))


def _train(bench: Bench, what: str, build: Callable[[], nn.Module], turn: int) -> None:
    torch.manual_seed(0)
    vit = build()
    width = next(p.shape[-1] for n, p in vit.named_parameters() if n.endswith("cls_token"))
    model = Classifier(vit, width).to(bench.device).train()
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4)
    size = bench.sizes.train_batch
    image = torch.randn(size, 3, IMAGE_PX, IMAGE_PX, device=bench.device)
    target = torch.randint(CLASSES, (size,), device=bench.device)

    def step() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            loss = functional.cross_entropy(model(image), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    seconds = bench.time(step, warm_up=3)
    peak = torch.cuda.max_memory_allocated(bench.device) if bench.device.type == "cuda" else None
    bench.row(
        f"training step, {what}", 1e3 * seconds, "ms", turn=turn, batch=size, peak_bytes=peak,
        learns=sum(p.numel() for p in learned),
    )  # fmt: skip


def meta(bench: Bench) -> None:
    """Time a first-order meta step beside a step of the weights on the same batch, bfloat16."""
    bands = [generic_band(name) for name in ("blue", "green", "red", "nir")]
    spec = ModelSpec(
        backbone=bench.sizes.networks["vit-b"], options={"img_size": IMAGE_PX},
        stem={"trainable": False},
    )  # fmt: skip
    network = build_network(
        spec, TunerSpec(), bands=bands, classes=CLASSES, mean=[0.0] * 4, std=[1.0] * 4
    ).to(bench.device)
    size = max(bench.sizes.train_batch // 4, 1)
    shape = (size, IMAGE_PX, IMAGE_PX)
    batch: dict[str, Any] = {
        "image": torch.randn(size, 4, IMAGE_PX, IMAGE_PX, device=bench.device),
        "valid": torch.ones(shape, dtype=torch.bool, device=bench.device),
        "target": torch.randint(CLASSES, shape, device=bench.device),
    }
    loss = nn.CrossEntropyLoss()
    rhos = network.scale_parameters()
    optimizer = torch.optim.AdamW(network.trainable_parameters(), lr=1e-3)
    strategy = build_strategy(MetaSettings(strategy="first_order"), rhos)

    def train_step() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            value = loss(network(batch["image"], batch["valid"]), batch["target"])
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    def meta_step() -> None:
        task = MetaTask(network, rhos, loss, [], [batch], optimizer)
        with isolated(network, rhos), torch.autocast(bench.device.type, torch.bfloat16):
            strategy.update(task)

    step, outer = bench.time(train_step), bench.time(meta_step)
    bench.row("step of the weights, lora and head of pixels", 1e3 * step, "ms", batch=size)
    bench.row("first-order meta step", 1e3 * outer, "ms", batch=size, of_step=outer / step)
