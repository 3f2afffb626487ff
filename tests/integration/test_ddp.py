"""Two processes that train together leave one run, whole."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from affine import Affine
from safetensors.torch import load_file

from rsmeta.config.meta import MetaSettings
from rsmeta.training.meta import build_strategy
from tests.unit.small_problem import Small, task_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import TinyRun


@pytest.mark.slow
def test_two_processes_on_a_cpu_leave_one_bundle(tiny_run: TinyRun, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = [
        sys.executable, "-m", "rsmeta_cli.main", "train", str(tiny_run.config),
        f"data.root={tiny_run.data}", "trainer.devices=2", "trainer.strategy=ddp",
        "--output", str(output),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (output / "bundle" / "weights.safetensors").exists()
    with (output / "history.csv").open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    # 16 chips in an epoch, 2 processes of 4 chips a step: two steps an epoch.
    assert [row["step"] for row in rows] == ["2", "4"]
    numbers = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["validation"]["pixels"] > 0


NAMES = ("first_order", "unrolled", "finite_difference", "evolution")


def some_steps(name: str, rank: int, size: int) -> torch.Tensor:
    """Take meta steps on this process's share of every batch; return the scales."""
    network = Small()
    optimizer = torch.optim.AdamW(network.weights, lr=0.05)
    settings = MetaSettings(strategy=name, lr=0.1, inner_steps=2, population=4)
    strategy = build_strategy(settings, network.rhos, seed=3)
    task = task_of(network, optimizer, ahead=strategy.steps_ahead)
    for batch in (*task.ahead, *task.batches):
        for key, value in batch.items():
            batch[key] = value[rank::size]
    for _ in range(3):
        strategy.update(task)
    return torch.stack([rho.detach() for rho in task.rhos])


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    scales = {name: some_steps(name, rank, 2) for name in NAMES}
    torch.save(scales, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_every_strategy_in_two_processes_as_in_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in NAMES:
        assert torch.equal(first[name], second[name]), name
        whole = some_steps(name, 0, 1)
        torch.testing.assert_close(first[name], whole, atol=1e-6, rtol=1e-6)
        assert not torch.equal(whole, torch.stack([rho.detach() for rho in Small().rhos]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", ["first_order, lr: 0.05", "unrolled, lr: 0.05", "first_order, gate: 0"]
)
def test_two_processes_learn_the_scales_of_one_with_the_same_batches(
    strategy: str, tiny_run: TinyRun, make_scene: MakeScene, tmp_path: Path
) -> None:
    # Every pixel labelled and nothing drawn by process: the means over processes are exact.
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:96, :96]
    classes = (1 + (row // 24 + col // 24) % 2).astype(np.uint8)
    for name, left in (("west", 500_000.0), ("east", 502_000.0)):
        place = Affine(10.0, 0.0, left, 0.0, -10.0, 5_150_000.0)
        image = rng.normal(1000 + classes * np.array([200, 500, 900])[:, None, None], 60)
        make_scene(tmp_path / f"{name}.tif", image.astype(np.uint16), transform=place,
                   descriptions=("green", "red", "nir"))  # fmt: skip
        make_scene(tmp_path / f"{name}_labels.tif", classes, transform=place)
    found = []
    for devices, batch in ((1, 4), (2, 2)):
        output = tmp_path / f"run{devices}"
        words = [
            sys.executable, "-m", "rsmeta_cli.main", "train", str(tiny_run.config),
            f"data.root={tmp_path}", "data.split={validation: 0}", f"data.batch_size={batch}",
            "data.augment={flip: false, rotate: false, gain: 0, band_gain: 0}",
            "tuner={method: lora, rank: 2}", f"trainer.devices={devices}",
            f"trainer.strategy={'ddp' if devices == 2 else 'auto'}",
            f"meta={{strategy: {strategy}, every_n_steps: 2, until: 1, granularity: site}}",
            "--output", str(output),
        ]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        found.append(load_file(output / "bundle" / "weights.safetensors"))
    one, two = found
    assert one.keys() == two.keys()
    scales = torch.stack([tensor for name, tensor in one.items() if name.endswith("rho")])
    assert len(scales) == 4
    assert (scales != 0).all(), "all moved from where they started"
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-4, rtol=2e-3, msg=name)
