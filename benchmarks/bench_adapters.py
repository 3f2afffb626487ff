"""What a training step costs with each adapter, beside HF peft, a plain wrapper and full training.

One step is forward, backward and AdamW on a frozen ViT with a linear classifier. All contenders
take turns, step by step, so that what else the machine does falls on all of them alike; medians.
Memory is what the backward pass keeps: bytes of saved tensors that are no parameters, each storage
counted once. On a GPU the peak of the allocator is given, too. Then: inference with merged LoRA
against the bare backbone.

    python benchmarks/bench_adapters.py [--models vit_small_patch16_224 ...] [--steps 7]
        [--batch 8] [--methods lora ...] [--device auto] [--cpu-time]

--cpu-time counts this process's seconds on the CPU instead of the clock's: for one thread
(OMP_NUM_THREADS=1) on a machine that has other work to do.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import generic_band
from rsmeta.models import build_backbone
from rsmeta.models.packed import PackedLinear, PatchProduct
from rsmeta.peft import TUNERS, apply_tuner, merge, unmerge

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE_PX = 224
CLASSES = 10
RANK = 8
RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
UNPACKED = "lora, weights not packed (rsmeta)"
FULL, PEFT = "full (rsmeta)", f"HF peft lora, qkv, rank {RANK}"


class HandWritten(nn.Module):
    """LoRA of q and v as one writes it in an afternoon: three maps, three additions."""

    def __init__(self, qkv: nn.Linear) -> None:
        super().__init__()
        dim = qkv.in_features
        self.qkv = qkv
        self.q_down, self.v_down = (nn.Linear(dim, RANK, bias=False) for _ in "qv")
        self.q_up, self.v_up = (nn.Linear(RANK, dim, bias=False) for _ in "qv")
        for up in (self.q_up, self.v_up):
            nn.init.zeros_(up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted projection (B, N, 3 · D)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q + self.q_up(self.q_down(x))
        v = v + self.v_up(self.v_down(x))
        return torch.cat((q, k, v), dim=-1)


class Classifier(nn.Module):
    """A vision transformer and a linear classifier on its class token."""

    def __init__(self, vit: nn.Module, dim: int) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K)."""
        features = self.vit(x)
        cls: Tensor = features if isinstance(features, Tensor) else features.cls
        logits: Tensor = self.head(cls)
        return logits


@dataclass
class Contender:
    """One way to train, and what it has cost so far."""

    name: str
    model: nn.Module
    step: Callable[[], None]
    seconds: list[float] = field(default_factory=list)
    saved_bytes: int = 0
    peak_bytes: int = 0

    @property
    def learns(self) -> int:
        """Numbers that learn, the classifier's left out."""
        head = CLASSES * self.model.head.in_features + CLASSES
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad) - head


def bare(name: str, *, checkpointing: bool) -> nn.Module:
    """Return timm's network."""
    vit = timm.create_model(name, num_classes=0)
    vit.set_grad_checkpointing(checkpointing)
    return vit


def with_peft(name: str, *, checkpointing: bool) -> nn.Module:
    """Return timm's network with HF peft's LoRA on its fused projections."""
    import peft

    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["qkv"])
    return peft.get_peft_model(bare(name, checkpointing=checkpointing), config)


def by_hand(name: str, *, checkpointing: bool) -> nn.Module:
    """Return timm's network with the plain wrapper."""
    vit = bare(name, checkpointing=checkpointing).requires_grad_(False)
    for block in vit.blocks:
        block.attn.qkv = HandWritten(block.attn.qkv)
    return vit


def tuned(name: str, method: str, *, checkpointing: bool) -> nn.Module:
    """Return rsmeta's backbone with a method as its preset has it."""
    backbone = build_backbone(ModelSpec(backbone=name), RGB)
    backbone.vit.set_grad_checkpointing(checkpointing)
    apply_tuner(backbone, TunerSpec(method=method))
    return backbone


def unpacked(vit: nn.Module) -> nn.Module:
    """Return a network whose layers are torch's own again."""
    for layer in vit.modules():
        if isinstance(layer, PackedLinear | PatchProduct):
            layer.__class__ = nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d
    return vit


def contend(name: str, vit: nn.Module, batch: Tensor, target: Tensor, dim: int) -> Contender:
    """Return a contender that trains this network on one batch, over and over."""
    model = Classifier(vit, dim).to(batch.device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        loss = functional.cross_entropy(model(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Contender(name, model, step)


def contenders(model: str, methods: list[str], batch: Tensor, *, checkpointing: bool) -> Any:
    """Yield all contenders of one table."""
    target = torch.randint(CLASSES, (len(batch),), device=batch.device)
    ways: dict[str, Callable[[], nn.Module]] = {
        PEFT: lambda: with_peft(model, checkpointing=checkpointing),
        f"hand-written lora, q and v, rank {RANK}": lambda: by_hand(
            model, checkpointing=checkpointing
        ),
    }
    if "lora" in methods:
        ways[UNPACKED] = lambda: unpacked(tuned(model, "lora", checkpointing=checkpointing))
    for method in methods:
        ways[f"{method} (rsmeta)"] = lambda method=method: tuned(
            model, method, checkpointing=checkpointing
        )
    for name, build in ways.items():
        torch.manual_seed(0)
        vit = build()
        width = next(p.shape[-1] for n, p in vit.named_parameters() if n.endswith("cls_token"))
        yield contend(name, vit, batch, target, width)


def measure_memory(one: Contender, device: torch.device) -> None:
    """Run one step and count what it keeps for the backward pass."""
    own = {p.untyped_storage().data_ptr() for p in one.model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        one.step()
        one.peak_bytes = torch.cuda.max_memory_allocated(device) - before
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        one.step()
    one.saved_bytes = sum(seen.values())


def clock(run: Callable[[], Any], device: torch.device, *, cpu_time: bool) -> float:
    """Return the seconds that a call takes, the device's work included."""
    now = time.process_time if cpu_time else time.perf_counter
    _wait(device)
    started = now()
    run()
    _wait(device)
    return now() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training_table(
    model: str, given: argparse.Namespace, device: torch.device, *, checkpointing: bool
) -> None:
    """Measure and print one table."""
    batch = torch.randn(given.batch, 3, IMAGE_PX, IMAGE_PX, device=device)
    field_ = list(contenders(model, given.methods, batch, checkpointing=checkpointing))
    for one in field_:
        measure_memory(one, device)
    for _ in range(given.steps):
        for one in field_:
            one.seconds.append(clock(one.step, device, cpu_time=given.cpu_time))
    kind = "with gradient checkpointing" if checkpointing else "without gradient checkpointing"
    print(f"\n### {model}, batch {given.batch}, {device.type}, {kind}\n")
    gpu = " | peak MB" if device.type == "cuda" else ""
    print(f"| way | learns | step, ms | of HF peft | of full | kept MB | of full{gpu} |")
    print("|---" * (8 if gpu else 7) + "|")
    medians = {one.name: statistics.median(one.seconds) for one in field_}
    kept = {one.name: one.saved_bytes for one in field_}
    for one in field_:
        cells = [
            one.name, f"{one.learns:,}", f"{1000 * medians[one.name]:.0f}",
            _ratio(medians, one.name, PEFT), _ratio(medians, one.name, FULL),
            f"{kept[one.name] / 1e6:.0f}", _ratio(kept, one.name, FULL),
        ]  # fmt: skip
        cells += [f"{one.peak_bytes / 1e6:.0f}"] if gpu else []
        print(f"| {' | '.join(cells)} |", flush=True)


def _ratio(values: dict[str, Any], name: str, against: str) -> str:
    return f"{values[name] / values[against]:.2f}" if values.get(against) else "-"


def inference_table(models: list[str], given: argparse.Namespace, device: torch.device) -> None:
    """Compare merged and unmerged LoRA with the bare backbone."""
    print("\n### Inference\n")
    print("| backbone | bare, ms | lora merged | of bare | lora as it is | of bare |")
    print("|---|---|---|---|---|---|")
    for model in models:
        batch = torch.randn(given.batch, 3, IMAGE_PX, IMAGE_PX, device=device)
        plain = build_backbone(ModelSpec(backbone=model), RGB).eval().to(device)
        adapted = tuned(model, "lora", checkpointing=False).eval().to(device)
        times: dict[str, list[float]] = {"bare": [], "merged": [], "as it is": []}
        with torch.inference_mode():
            for _ in range(given.steps + 1):
                for way, network in (("bare", plain), ("as it is", adapted), ("merged", adapted)):
                    (merge if way == "merged" else unmerge)(network)
                    run = partial(network, batch)
                    times[way].append(clock(run, device, cpu_time=given.cpu_time))
        medians = {name: statistics.median(found[1:]) for name, found in times.items()}
        cells = [model, f"{1000 * medians['bare']:.0f}"]
        for name in ("merged", "as it is"):
            cells += [f"{1000 * medians[name]:.0f}", _ratio(medians, name, "bare")]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models", nargs="+", default=["vit_small_patch16_224", "vit_base_patch16_224"]
    )
    parser.add_argument("--methods", nargs="+", default=TUNERS.names())
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cpu-time", action="store_true")
    given = parser.parse_args()
    cuda = torch.cuda.is_available() if given.device == "auto" else given.device == "cuda"
    device = torch.device("cuda" if cuda else "cpu")
    about = torch.cuda.get_device_name() if cuda else platform.machine()
    print(f"{about}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"timm {timm.__version__}, {datetime.now(UTC):%Y-%m-%d}")  # fmt: skip
    for model in given.models:
        for checkpointing in (False, True):
            training_table(model, given, device, checkpointing=checkpointing)
            gc.collect()
    inference_table(given.models, given, device)


if __name__ == "__main__":
    main()
