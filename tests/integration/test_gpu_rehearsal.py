"""What is run on a GPU, rehearsed on the CPU: no typo may cost the minutes that a card is lent."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "benchmarks" / "gpu"


@pytest.mark.slow  # every benchmark, every test of the GPU, and the demo
def test_the_whole_run_is_rehearsed(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, SCRIPTS / "run.py", "--tiny", "--installed", "--seconds", "3000",
            "--output", tmp_path / "results", "--work", tmp_path / "work",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "results" / "log.txt").read_text(encoding="utf-8")
    rows = json.loads((tmp_path / "results" / "gpu.json").read_text(encoding="utf-8"))
    assert not [row for row in rows if row.get("error")], log[-5000:]
    parts = {row["part"] for row in rows if row["what"] == "part"}
    assert {"versions", "tests", "train", "meta", "ram", "start", "demo", "compiled"} <= parts
    tested = [row for row in rows if row["part"] == "tests" and row["what"] != "part"]
    assert sum(row["ended"] == "passed" for row in tested) > 25
    table = (tmp_path / "results" / "gpu.md").read_text(encoding="utf-8")
    assert "| map-vit-b | whole way |" in table
    assert "did not end well" not in table


def test_a_part_that_fails_or_hangs_does_not_keep_the_next_one_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import time

    import run

    here = run.Run(tmp_path / "work", tmp_path, time.monotonic() + 60, tiny=False)
    here.checkout.mkdir(parents=True)
    for name, code, limit_s in (
        ("fails", "raise SystemExit(3)", 20),
        ("hangs", "import time; time.sleep(60)", 1.5),
        ("works", "print('hello')", 20),
    ):
        ended = here.do(run.Part(name, (sys.executable, "-c", code), limit_s))
        assert ended == (name == "works")
    rows = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [row["part"] for row in rows] == ["fails", "hangs", "works"]
    assert [bool(row["error"]) for row in rows] == [True, True, False]
    table = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "fails, part: exit status 3" in table
    assert "hangs, part: ended after" in table
    assert "hello" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_what_is_collected_follows_requirements_and_leaves_out_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import collect

    target = collect.Target.read(SCRIPTS / "wheels.toml")
    required = {one.name for one in collect.requires_of_rsmeta(target)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(required) >= len(project["dependencies"])
    lacking = {one.name for one in collect.requires_of_rsmeta(target) if not target.has(one)}
    assert {"rasterio", "torchgeo", "pydantic", "kornia"} <= lacking
    assert not lacking & collect.NEVER
    lines = [
        "a>=1; python_version < '3.11'",
        "b>=2; extra == 'x'",
        "c; sys_platform == 'win32'",
        "d",
    ]
    assert [one.name for one in target.active(lines, ())] == ["d"]
    assert [one.name for one in target.active(lines, ("x",))] == ["b", "d"]
