"""One configuration over seeds and a grid: kept, resumed, failed, and put into one table."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import rsmeta
from rsmeta.errors import ConfigError
from rsmeta_cli.main import main
from tests.integration.conftest import command_line

if TYPE_CHECKING:
    from tests.integration.conftest import Rsmeta, TinyRun

#: A norm is no linear map, so that LoRA on it fails once the backbone is built.
BROKEN = "{preset: lora, positions: [ln]}"

SHORT = ("trainer.max_epochs=1", "data.chips_per_epoch=4", "trainer.baseline=false")


def words(run: TinyRun, output: Path, sweep: str) -> tuple[str, ...]:
    return (
        "train", str(run.config), f"data.root={run.data}", *SHORT, f"sweep={sweep}",
        "--output", str(output),
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def half_failed(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two points, one of which fails."""
    output = tmp_path_factory.mktemp("sweep") / "out"
    given = words(tiny_run, output, f"{{seeds: [0], grid: {{tuner: [full, {BROKEN}]}}}}")
    out, err = io.StringIO(), io.StringIO()
    with (
        command_line(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):  # fmt: skip
        main(list(given))
    assert ended.value.code == 1, err.getvalue()
    (complaint,) = [line for line in err.getvalue().splitlines() if line.startswith("rsmeta: ")]
    assert "1 of 2 runs failed: tuner={preset: lora, positions: [ln]} seed=0" in complaint
    assert "--resume" in complaint
    assert "0 of 1, 1 failed" in out.getvalue()
    assert "1 of 1" in out.getvalue()
    return output


def test_a_failed_run_loses_no_other_and_is_told(half_failed: Path) -> None:
    ended, failed = rows(half_failed / "runs.csv")
    assert (ended["status"], failed["status"]) == ("finished", "failed")
    assert "linear" in failed["error"] or "position" in failed["error"]
    folder = half_failed / ended["folder"]
    assert (folder / "bundle" / "bundle.yaml").exists()
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert float(ended["test_accuracy"]) == metrics["test"]["accuracy"]
    assert float(ended["parameters"]) == metrics["trained_parameters"]
    point, other = rows(half_failed / "table.csv")
    assert float(point["test_accuracy_mean"]) == metrics["test"]["accuracy"]
    assert (other["finished"], other["failed"]) == ("0", "1")
    text = (half_failed / "table.md").read_text(encoding="utf-8")
    assert "| full | 1 of 1 |" in text
    assert "Failed:" in text
    assert not list(half_failed.rglob(".*partial"))


def test_runs_say_in_a_file_of_their_own_what_they_did(half_failed: Path) -> None:
    log = half_failed / rows(half_failed / "runs.csv")[0]["folder"] / "log.txt"
    assert "epoch 1/1" in log.read_text(encoding="utf-8")


def test_resume_keeps_finished_runs_and_takes_further_points(
    rsmeta: Rsmeta, tiny_run: TinyRun, half_failed: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(half_failed, tmp_path / "out"))
    kept = output / "runs" / "tuner-full" / "seed-0" / "metrics.json"
    before = kept.stat().st_mtime_ns
    given = words(tiny_run, output, "{seeds: [0], grid: {tuner: [full, head]}}")
    refused = rsmeta(*given)
    assert refused.status == 1
    assert "--resume" in refused.complaint
    ended = rsmeta(*given, "--resume")
    assert ended.status == 0, ended.err
    assert "2 runs, 1 of them already finished" in ended.err
    assert kept.stat().st_mtime_ns == before
    assert [row["tuner"] for row in rows(output / "table.csv")] == ["full", "head"]
    assert "failed" not in (output / "table.md").read_text(encoding="utf-8").lower()


def test_runs_of_another_configuration_are_refused(
    rsmeta: Rsmeta, tiny_run: TinyRun, half_failed: Path
) -> None:
    given = words(tiny_run, half_failed, "{seeds: [0], grid: {tuner: [full]}}")
    ended = rsmeta(*given, "data.batch_size=2", "--resume")
    assert ended.status == 1
    assert "data.batch_size" in ended.complaint


def test_a_folder_with_a_single_run_is_refused(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    ended = rsmeta(*words(tiny_run, tiny_run.folder, "{seeds: [0]}"), "--resume")
    assert ended.status == 1
    assert "single run" in ended.complaint


def test_a_wrong_value_of_the_grid_is_said_before_anything_is_written(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    ended = rsmeta(*words(tiny_run, tmp_path / "out", "{grid: {tuner.scale: [1, -1]}}"))
    assert ended.status == 1
    assert "tuner.scale=-1" in ended.complaint
    assert not (tmp_path / "out").exists()


def test_dry_run_names_the_runs(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    given = words(tiny_run, Path("out"), "{seeds: [3, 4], grid: {tuner: [full, head]}}")
    ended = rsmeta(*given, "--dry-run")
    assert ended.status == 0, ended.err
    assert "sweep of 4 runs" in ended.out
    assert "tuner=head seed=4" in ended.out


def test_train_of_one_run_refuses_a_sweep(tiny_run: TinyRun, tmp_path: Path) -> None:
    tree = yaml.safe_load(tiny_run.config.read_text(encoding="utf-8"))
    with pytest.raises(ConfigError, match=r"rsmeta\.sweep"):
        rsmeta.train({**tree, "sweep": {"seeds": [0]}}, output=tmp_path / "run")


@pytest.mark.usefixtures("heard")
def test_an_interrupted_sweep_ends_its_runs_and_can_be_resumed(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    given = [*words(tiny_run, output, "{seeds: [0, 1]}"), "trainer.max_epochs=2000"]
    history = output / "runs" / "all" / "seed-0" / "history.csv"

    def interrupt() -> None:
        deadline = time.monotonic() + 200
        while not history.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    ended = rsmeta(*given)
    assert ended.status == 130
    assert "--resume" in ended.complaint
    assert not multiprocessing.active_children()
    assert len(rows(history)) < 2000
    ended = rsmeta(*given, "trainer.max_epochs=2", "sweep={seeds: [0]}", "--resume")
    assert ended.status == 0, ended.err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_killed_sweep_leaves_no_process_and_goes_on(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    given = [*words(tiny_run, output, "{seeds: [0, 1]}"), "trainer.max_epochs=40"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "rsmeta_cli.main", *given],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    history = output / "runs" / "all" / "seed-0" / "history.csv"
    deadline = time.monotonic() + 200
    while not history.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    time.sleep(3)
    lines = len(rows(history))
    time.sleep(3)
    assert len(rows(history)) == lines < 40, "the run ended with its sweep"
    ended = rsmeta(*given, "--resume")
    assert ended.status == 0, ended.err
    assert len(rows(history)) == 40
    assert [row["status"] for row in rows(output / "runs.csv")] == ["finished"] * 2
