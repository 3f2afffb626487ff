"""A killed training run goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun

EPOCHS = 5


def start(run: TinyRun, output: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [
        sys.executable, "-m", "rsmeta_cli.main", "train", str(run.config), f"data.root={run.data}",
        f"trainer.max_epochs={EPOCHS}", "--output", str(output), *more,
    ]  # fmt: skip
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows(output: Path) -> list[dict[str, str]]:
    file = output / "history.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_resumed_run_equals_the_uninterrupted_one(tiny_run: TinyRun, tmp_path: Path) -> None:
    killed = start(tiny_run, tmp_path / "killed")
    deadline = time.monotonic() + 120
    while len(rows(tmp_path / "killed")) < 2 and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "bundle").exists()
    assert start(tiny_run, tmp_path / "killed", "--resume").wait() == 0
    assert start(tiny_run, tmp_path / "whole").wait() == 0

    one, other = rows(tmp_path / "killed"), rows(tmp_path / "whole")
    assert [row["epoch"] for row in one] == [str(i + 1) for i in range(EPOCHS)]
    assert one == other, "the same steps, the same losses"
    weights = [
        safetensors.torch.load_file(tmp_path / name / "bundle" / "weights.safetensors")
        for name in ("killed", "whole")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_resuming_with_other_settings_is_refused(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    again = ("train", tiny_run.config, f"data.root={tiny_run.data}", "--output", tiny_run.folder)
    assert "--resume" in rsmeta(*again).complaint
    changed = rsmeta(*again, "data.batch_size=2", "--resume")
    assert changed.status == 1
    assert "data.batch_size" in changed.complaint
