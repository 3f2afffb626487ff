"""Runs of the whole Lightning module with meta steps, from Python, small and quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from rsmeta.config import Settings, load_settings
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.losses import build_loss
from rsmeta.metrics import SegmentationMetrics
from rsmeta.models.build import build_network
from rsmeta.peft import LoRA
from rsmeta.training.fit import fit
from rsmeta.training.module import TaskModule

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "data": {
        "scenes": ["west.tif", "east.tif"], "labels": "{stem}_labels.tif",
        "classes": {1: "bare", 2: "meadow"}, "chip_px": 32, "chips_per_epoch": 24,
        "batch_size": 4,
    },
    "model": {
        "pretrained": False,
        "options": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2,
                    "proj_drop_rate": 0.1, "drop_path_rate": 0.1},
        "head": "linear",
    },
    "tuner": {"method": "lora", "rank": 2},
    "meta": {"strategy": "first_order", "every_n_steps": 2, "lr": 0.1, "until": 1},
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "optimizer": {"lr": 0.01}},
}  # fmt: skip

#: Strategies that take meta steps.
STRATEGIES = ("first_order", "unrolled", "finite_difference", "evolution")


def settings_of(data: Path, *overrides: str) -> Settings:
    return load_settings(CONFIG, [f"data.root={data}", *overrides])


class Disturbed(nn.Module):
    """Batch statistics, dropout and a counter: all that a meta step could leave traces in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(0.1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        changed: torch.Tensor = self.drop(self.norm(x))
        return changed


def make_module(
    settings: Settings, *, disturbed: bool = False
) -> tuple[TaskModule, SceneDataModule]:
    """Return what ``rsmeta train`` would fit; adapters act from the start."""
    torch.manual_seed(settings.seed)
    data = SceneDataModule(settings.data, seed=settings.seed, meta=settings.meta)
    mean, std = data.statistics
    network = build_network(
        settings.model, settings.tuner, bands=data.bands, classes=2, mean=mean, std=std,
        meta=settings.meta,
    )  # fmt: skip
    for module in network.modules():
        if isinstance(module, LoRA):
            nn.init.normal_(module.up, std=0.1)
    if disturbed:
        network.prepare.noise = Disturbed(len(data.bands))
        network.prepare.register_forward_hook(lambda module, _, x: module.noise(x))
    metrics = SegmentationMetrics(["bare", "meadow"])
    return TaskModule(
        network, build_loss(settings.loss, data.class_counts), metrics, settings
    ), data


def killed_and_resumed(settings: Settings, folder: Path, *, after: int) -> list[dict[str, Any]]:
    """Return what a run learned at one go, and killed after so many steps and resumed."""
    step, ends = TaskModule.training_step, []

    def killed(self: TaskModule, *given: Any) -> Any:
        if self.global_step == after:
            raise RuntimeError("killed")
        return step(self, *given)

    for way in ("whole", "killed"):
        if way == "killed":
            module, data = make_module(settings)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(TaskModule, "training_step", killed)
                with pytest.raises(RuntimeError, match="killed"):
                    fit(module, data, output=folder / way)
        module, data = make_module(settings)
        fit(module, data, output=folder / way, resume=True)
        state = module.network.trained_state()
        ends.append({name: value.detach().clone() for name, value in state.items()})
    return ends
