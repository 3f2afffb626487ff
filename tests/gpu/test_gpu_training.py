"""Training on a GPU: a step and a meta step as on the CPU, and whole runs with all they leave."""

from __future__ import annotations

import copy
import csv
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

import rsmeta
from rsmeta.config import load_settings
from rsmeta.config.meta import MetaSettings
from rsmeta.peft import TUNERS
from rsmeta.training.meta import STRATEGIES, MetaTask, build_strategy
from rsmeta.training.meta.isolation import isolated
from tests.gpu.conftest import CLASSES, TILE_PX, make_bundle
from tests.integration.conftest import write_data
from tests.integration.meta_runs import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

pytestmark = pytest.mark.gpu


def batch_on(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the same images and labels on any device."""
    random = torch.Generator().manual_seed(1)
    image = torch.rand(4, 4, TILE_PX, TILE_PX, generator=random)
    target = torch.randint(-1, CLASSES, (4, TILE_PX, TILE_PX), generator=random)
    valid = torch.rand(4, TILE_PX, TILE_PX, generator=random) > 0.1
    return {"image": image.to(device), "valid": valid.to(device), "target": target.to(device)}


@pytest.mark.parametrize("method", TUNERS.names())
def test_a_training_step_is_the_cpus(method: str, tmp_path: Path, device: torch.device) -> None:
    """Loss and gradients in float32, for every method there is."""
    network = make_bundle(tmp_path / "model", tuner=method, depth=2).network.eval()
    found = {}
    for place in (torch.device("cpu"), device):
        here, batch = copy.deepcopy(network).to(place), batch_on(place)
        logits = here(batch["image"], batch["valid"])
        loss = functional.cross_entropy(logits, batch["target"], ignore_index=-1)
        learned = {n: p for n, p in here.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
        named = zip(learned, gradients, strict=True)
        found[place] = loss.item(), {n: g.cpu() for n, g in named if g is not None}
    (expected, theirs), (loss, ours) = found[torch.device("cpu")], found[device]
    assert loss == pytest.approx(expected, rel=1e-4)
    assert ours.keys() == theirs.keys() != set()
    for name, gradient in ours.items():
        away = (gradient - theirs[name]).norm() / theirs[name].norm().clamp_min(1e-6)
        assert away < 1e-2, name  # float32 sums in another order, TF32 in convolutions


@pytest.mark.parametrize("name", [n for n in STRATEGIES.names() if n != "evolution"])
def test_a_meta_step_is_the_cpus(name: str, tmp_path: Path, device: torch.device) -> None:
    network = make_bundle(tmp_path / "model", depth=2).network
    moved = {}
    for place in (torch.device("cpu"), device):
        here, batch = copy.deepcopy(network).to(place), batch_on(place)
        rhos = here.scale_parameters()
        optimizer = torch.optim.AdamW(here.trainable_parameters(), lr=1e-3)
        strategy = build_strategy(MetaSettings(strategy=name, lr=0.1), rhos)
        before = {n: t.clone() for n, t in here.state_dict().items()}
        loss = nn.CrossEntropyLoss(ignore_index=-1)
        task = MetaTask(here, rhos, loss, [batch] * strategy.steps_ahead, [batch], optimizer)
        with isolated(here, rhos):
            strategy.update(task)
        scales = {id(rho) for rho in rhos}
        named = {n for n, p in here.named_parameters() if id(p) in scales}
        same = {n for n, t in here.state_dict().items() if torch.equal(t, before[n])}
        assert same == set(before) - named, "the scales move, and nothing else"
        moved[place] = torch.stack([rho.detach().cpu() for rho in rhos])
    torch.testing.assert_close(moved[device], moved[torch.device("cpu")], rtol=0, atol=5e-3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), make_scene)


def accelerator(device: torch.device) -> str:
    return "gpu" if device.type == "cuda" else "cpu"


def trained(data: Path, run: Path, device: torch.device, *overrides: str, **options: Any) -> Any:
    """Train a small network with learned scales."""
    told = [f"data.root={data}", f"trainer.accelerator={accelerator(device)}", *overrides]
    settings = load_settings(CONFIG, told)
    return rsmeta.train(settings, output=run, **options)


@pytest.mark.parametrize("precision", ["auto", "32-true", "bf16-mixed", "16-mixed"])
def test_a_run_learns_scales_and_maps(
    precision: str, data: Path, tmp_path: Path, device: torch.device
) -> None:
    if precision == "16-mixed" and device.type == "cpu":
        pytest.skip("float16 is for GPUs")
    trained(
        data, tmp_path / "run", device, f"trainer.precision={precision}", "trainer.max_epochs=3"
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["train_loss"] < 0.75
    bundle = rsmeta.load_bundle(tmp_path / "run" / "bundle")
    place = str(device)
    (result,) = rsmeta.predict(
        data / "west.tif", bundle, output=tmp_path / "map.tif", execution=place
    )
    assert result.tiles > 0
    scores = rsmeta.evaluate_map(tmp_path / "map.tif", data / "west_labels.tif")
    assert scores.accuracy > 0.7


def test_a_run_of_images_learns_and_is_evaluated(
    tmp_path: Path, device: torch.device, make_scene: MakeScene
) -> None:
    from tests.integration.image_data import FOLDER, write_images

    write_images(tmp_path / "data", make_scene)
    (tmp_path / "config.yaml").write_text(FOLDER, encoding="utf-8")
    overrides = [f"data.root={tmp_path / 'data'}", f"trainer.accelerator={accelerator(device)}"]
    rsmeta.train(tmp_path / "config.yaml", overrides, output=tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["train_loss"] < 1


def test_deterministic_runs_are_the_same_to_the_bit(
    data: Path, tmp_path: Path, device: torch.device
) -> None:
    try:
        for name in ("one", "other"):
            trained(data, tmp_path / name, device, "trainer.deterministic=true")
    finally:
        torch.use_deterministic_algorithms(False)  # Lightning leaves it on
    losses = [losses_of(tmp_path / name / "history.csv") for name in ("one", "other")]
    assert losses[0] == losses[1]


def test_after_a_kill_a_run_is_resumed_on_the_device(
    data: Path, tmp_path: Path, device: torch.device
) -> None:
    """It ends as the whole run does, within what sums on a GPU differ from run to run."""
    told = ["trainer.precision=32-true", "trainer.max_epochs=8"]
    trained(data, tmp_path / "whole", device, *told)
    run, config = tmp_path / "killed", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    words = [
        "train", config, f"data.root={data}", f"trainer.accelerator={accelerator(device)}", *told,
        "--output", run,
    ]  # fmt: skip
    command = [sys.executable, "-m", "rsmeta_cli.main", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and not (run / "checkpoints" / "last.ckpt").exists():
            time.sleep(0.02)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not (run / "bundle").exists()
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    losses = [losses_of(tmp_path / name / "history.csv") for name in ("whole", "killed")]
    assert len(losses[0]) == len(losses[1]) == 8
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def losses_of(history: Path) -> list[float]:
    with history.open(newline="", encoding="utf-8") as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]
