"""Try rsmeta on a GPU: install the collected wheels without a network, test, measure, demo.

    python3 benchmarks/gpu/run.py [--wheels build/gpu/wheels] [--output build/gpu/results]

For a machine with torch, prepared by ``make gpu`` on one that has a network. Nothing is installed
outside ``--work``. Each part has its own limit of time, and the next one runs whatever the last one
did; results are written as they come: ``results.jsonl``, at the end ``gpu.json`` and ``gpu.md``
too, and all that was printed in ``log.txt``. Needs Python's own library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import table  # beside this script

ROOT = Path(__file__).resolve().parents[2]
#: Parts of ``bench.py``, with the seconds that each may take.
MEASURED = {
    "map-vit-b": 75, "map-vit-l": 80, "train": 60, "blending": 40, "ram": 40, "meta": 30,
    "map-vit-s": 50, "map-satmae-l": 80, "start": 45, "compiled": 150,
}  # fmt: skip
#: A rehearsal is on a slower machine.
REHEARSAL_TIMES = 15
TEST_S, DEMO_S, CHECK_S, INSTALL_S = 130, 75, 45, 60


@dataclass(frozen=True)
class Part:
    """One process.

    Attributes:
        name: For the results.
        command: What it runs.
        limit_s: When it is ended.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True)
class Run:
    """Where everything is, and until when it may take.

    Attributes:
        work: For what is installed, and copies.
        output: For results.
        until: When all must be over, by ``time.monotonic``.
        tiny: A rehearsal, on whatever device there is.
    """

    work: Path
    output: Path
    until: float
    tiny: bool

    @property
    def checkout(self) -> Path:
        """The packages as they lie once installed, with tests and benchmarks beside them."""
        return self.work / "checkout"

    @property
    def environment(self) -> dict[str, str]:
        """What all parts find in their environment."""
        site = self.work / "site"
        paths = [*([str(site)] if site.is_dir() else []), str(self.checkout)]
        told = {
            "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg",
            "PYTHONWARNINGS": "ignore", "RSMETA_REHEARSAL": "1" if self.tiny else "",
            "RSMETA_RESULTS": str(self.output / "results.jsonl"),
        }  # fmt: skip
        if self.tiny:  # beside other work threads wait for each other
            told["OMP_NUM_THREADS"] = "1"
        return {**os.environ, **told}

    def note(self, part: str, what: str, value: float | None, unit: str, **more: object) -> None:
        """Write a row of the results."""
        entry = {"part": part, "what": what, "value": value, "unit": unit, **more}
        with (self.output / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def do(self, part: Part) -> bool:
        """Run a part; return whether it ended well and in time."""
        limit_s = part.limit_s * (REHEARSAL_TIMES if self.tiny else 1)
        limit_s = min(limit_s, self.until - time.monotonic())
        if limit_s <= 1:
            self.note(part.name, "part", None, "not begun", error="no time was left")
            return False
        started = time.monotonic()
        with (self.output / "log.txt").open("ab") as log:
            log.write(f"\n== {part.name}: {' '.join(part.command)}\n".encode())
            log.flush()
            # In a session of its own, so that its children end with it.
            child = subprocess.Popen(
                part.command, cwd=self.checkout, env=self.environment, stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                status = child.wait(limit_s)
                said = f"exit status {status}" if status else ""
            except subprocess.TimeoutExpired:
                said = f"ended after {limit_s:.0f} s"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        seconds = time.monotonic() - started
        self.note(part.name, "part", round(seconds, 1), "s", error=said)
        print(f"{part.name}: {seconds:.0f} s {said}", flush=True)
        table.write(self.output)
        return not said


def parts_of(given: argparse.Namespace, run: Run) -> list[Part]:
    """Return all that is run once everything is installed, the most telling first."""
    python, results = sys.executable, str(run.output)
    bench = ["--output", results, "--work", str(run.work)]
    bench += ["--tiny", "--device", "cpu"] if run.tiny else []
    test = (
        python, "-m", "pytest", "-v", "-m", "gpu", "tests/gpu", "-p", "no:cacheprovider",
        "-W", "default", "-o", "faulthandler_timeout=40",
    )  # fmt: skip
    demo = (python, "-m", "rsmeta_cli.main", "demo", "--output", str(run.work / "demo"))
    scripts = str(run.checkout / "benchmarks" / "gpu")
    measured = [
        Part(name, (python, f"{scripts}/bench.py", name, *bench), limit_s)
        for name, limit_s in MEASURED.items()
    ]
    every = [
        Part("versions", (python, f"{scripts}/versions.py", results), CHECK_S),
        Part("tests", test, TEST_S), *measured[:-1], Part("demo", demo, DEMO_S), measured[-1],
    ]  # fmt: skip
    chosen = given.parts or [part.name for part in every]
    if unknown := set(chosen) - {part.name for part in every}:
        raise SystemExit(f"no part is called {', '.join(sorted(unknown))}")
    return [part for part in every if part.name in chosen]


def lay_out(checkout: Path) -> None:
    """Copy the packages to where they lie once installed: nothing is built for that."""
    shutil.rmtree(checkout, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder, place in (
        ("rsmeta", "rsmeta"), ("configs", "rsmeta/configs"), ("sample_data", "rsmeta/sample_data"),
        ("cli", "rsmeta_cli"), ("tests", "tests"), ("benchmarks", "benchmarks"),
    ):  # fmt: skip
        shutil.copytree(ROOT / folder, checkout / place, ignore=unwanted, dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", checkout)


def main() -> None:
    """Install, run all parts, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, default=ROOT / "build" / "gpu" / "wheels")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu" / "results")
    parser.add_argument("--work", type=Path, help="default: a temporary folder, removed at the end")
    parser.add_argument("--seconds", type=float, default=480, help="for everything")
    parser.add_argument("--parts", nargs="*", help="only these")
    parser.add_argument("--installed", action="store_true", help="all packages are there already")
    parser.add_argument("--tiny", action="store_true", help="rehearse on the CPU")
    given = parser.parse_args()
    output = given.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    for name in ("results.jsonl", "log.txt"):
        (output / name).write_text("", encoding="utf-8")
    work = Path(given.work or tempfile.mkdtemp(prefix="rsmeta-gpu-")).absolute()
    work.mkdir(parents=True, exist_ok=True)
    run = Run(work, output, time.monotonic() + given.seconds, given.tiny)
    try:
        lay_out(run.checkout)
        if not given.installed:
            wheels = sorted(map(str, given.wheels.absolute().glob("*.whl")))
            pip = (
                sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                "--no-compile", "--no-cache-dir", "--upgrade", "--target", str(work / "site"),
            )  # fmt: skip
            run.do(Part("install", (*pip, *wheels), INSTALL_S))
        for part in parts_of(given, run):
            run.do(part)
    finally:
        if not given.work:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
