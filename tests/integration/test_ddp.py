"""Two processes that train together leave one run, whole."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

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
