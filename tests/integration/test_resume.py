"""A killed training run goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch

from rsmeta.training.fit import fit
from tests.integration.meta_runs import STRATEGIES, make_module, settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun

EPOCHS = 5


def training(run: TinyRun, output: Path, *more: str) -> list[str]:
    return [
        "train", str(run.config), f"data.root={run.data}", f"trainer.max_epochs={EPOCHS}",
        "trainer.baseline=false", "--output", str(output), *more,
    ]  # fmt: skip


def start(*words: str) -> subprocess.Popen[bytes]:
    """Start a process that computes on one thread, as this one does: sums are the same."""
    return subprocess.Popen(
        [sys.executable, "-m", "rsmeta_cli.main", *words], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def rows(output: Path) -> list[dict[str, str]]:
    file = output / "history.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


#: Outer steps of two batches each, out of step with epochs and accumulation.
META = (
    "tuner={method: lora, rank: 2}", "meta={strategy: first_order, every_n_steps: 3, lr: 0.1}",
    "meta.batches=2", "data.chips_per_epoch=28", "trainer.accumulate_grad_batches=2",
)  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
@pytest.mark.parametrize(
    "more",
    [pytest.param((), id="weights alone"),
     pytest.param(META, id="with scales", marks=pytest.mark.slow)],
)  # fmt: skip
def test_resumed_run_equals_the_uninterrupted_one(
    more: tuple[str, ...], tiny_run: TinyRun, tmp_path: Path, rsmeta: Rsmeta
) -> None:
    killed = start(*training(tiny_run, tmp_path / "killed", *more))
    deadline = time.monotonic() + 120
    while len(rows(tmp_path / "killed")) < 2 and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "bundle").exists()
    assert rsmeta(*training(tiny_run, tmp_path / "killed", *more, "--resume")).status == 0
    assert rsmeta(*training(tiny_run, tmp_path / "whole", *more)).status == 0

    one, other = rows(tmp_path / "killed"), rows(tmp_path / "whole")
    assert [row["epoch"] for row in one] == [str(i + 1) for i in range(EPOCHS)]
    assert one == other, "the same steps, the same losses"
    numbers = [
        json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8"))
        for name in ("killed", "whole")
    ]
    assert numbers[0]["best_epoch"] == numbers[1]["best_epoch"]
    weights = [
        safetensors.torch.load_file(tmp_path / name / "bundle" / "weights.safetensors")
        for name in ("killed", "whole")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    if more:
        noted = [
            (tmp_path / name / "gamma_history.csv").read_text(encoding="utf-8")
            for name in ("killed", "whole")
        ]
        assert noted[0] == noted[1]
        assert len(noted[0].splitlines()) > 20


@pytest.mark.parametrize("strategy", [*STRATEGIES, "joint"])
def test_scales_go_on_where_they_were(strategy: str, tiny_run: TinyRun, tmp_path: Path) -> None:
    def train(output: Path, epochs: int, *, resume: bool = False) -> dict[str, torch.Tensor]:
        settings = settings_of(
            tiny_run.data, f"meta.strategy={strategy}", f"trainer.max_epochs={epochs}",
            "meta.every_n_steps=4", "meta.population=4", "trainer.optimizer.schedule=constant",
            "trainer.optimizer.warmup=0", "data.split.validation=0",
        )  # fmt: skip
        module, data = make_module(settings)
        fit(module, data, output=output, resume=resume)
        checkpoint = torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)
        assert "MetaStep" in checkpoint["callbacks"] or strategy == "joint"
        return module.network.trained_state()

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "parts", 2)
    resumed = train(tmp_path / "parts", 3, resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    files = [tmp_path / name / "gamma_history.csv" for name in ("whole", "parts")]
    assert files[0].read_text() == files[1].read_text()
    last = torch.stack([tensor for name, tensor in whole.items() if name.endswith("rho")])
    assert len(last.unique()) == len(last), "they moved"


def test_a_finished_run_keeps_no_checkpoints_unless_told_to(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("train", tiny_run.config, f"data.root={tiny_run.data}", "trainer.max_epochs=1",
             "trainer.baseline=false", "--output", run)  # fmt: skip
    assert rsmeta(*words, "trainer.keep_checkpoints=false").status == 0
    assert not (run / "checkpoints").exists()
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    again = rsmeta(*words, "--resume")
    assert again.status == 0, again.err
    assert "is finished; there is nothing to resume" in again.err
    longer = rsmeta(*words, "trainer.max_epochs=3", "--resume")
    assert longer.status == 1
    assert f"model.checkpoint={run}" in longer.complaint
    assert "trainer.keep_checkpoints=true" in longer.complaint
    assert before == {file: file.stat().st_mtime_ns for file in before}, "nothing was touched"
    # With checkpoints, a finished run becomes longer.
    assert (tiny_run.folder / "checkpoints" / "last.ckpt").exists()


def test_resuming_with_other_settings_is_refused(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    again = ("train", tiny_run.config, f"data.root={tiny_run.data}", "--output", tiny_run.folder)
    assert "--resume" in rsmeta(*again).complaint
    changed = rsmeta(*again, "data.batch_size=2", "--resume")
    assert changed.status == 1
    assert "data.batch_size" in changed.complaint
