"""rsmeta against TerraTorch and a loop over TorchGeo: time and memory from GeoTIFF to GeoTIFF.

    python benchmarks/bench_compare.py [--sides PX ...] [--networks conv vit] [--rounds N]
        [--threads N] [--batch N] [--terratorch-python PYTHON] [--results FILE.jsonl]

Same scene, network, weights, tiles, overlap, batch and threads; each contender is a process of its
own, and they take turns. ``conv`` is one convolution, nearly free: what is left is what a contender
adds to the network. TerraTorch needs an environment of its own, whose interpreter is given:

    python -m venv terratorch-env && terratorch-env/bin/pip install terratorch

Results are printed as Markdown. What each contender does: benchmarks/compare.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent / "compare"
#: Name in the tables, script, and the way it goes; the first is what the others are compared with.
CONTENDERS = {
    "rsmeta": ("run_rsmeta.py", "default"),
    "rsmeta, small blocks": ("run_rsmeta.py", "small"),
    "TerraTorch": ("run_terratorch.py", "default"),
    "TerraTorch, aligned": ("run_terratorch.py", "aligned"),
    "TorchGeo, sums": ("run_torchgeo.py", "sum"),
    "TorchGeo, crops": ("run_torchgeo.py", "crop"),
}


@dataclass(frozen=True)
class Run:
    """What one contender took for one map.

    Attributes:
        contender: A key of ``CONTENDERS``.
        network: ``conv`` or ``vit``.
        side_px: Side of the scene.
        problem: How the process ended, where it made no map; all that follows is then 0.
        process_s: Seconds of the clock, from the start of the process to its end.
        process_cpu_s: Seconds of CPU of the process.
        peak_bytes: Most memory that the process held.
        map_s: Seconds of the clock from opening the scene to a complete map.
        map_cpu_s: Seconds of CPU likewise.
        before_bytes: Memory held when that began: libraries and network.
        same: Share of pixels with the class that the first contender gave them; none: it gave none.
        versions: Of the packages at work.
    """

    contender: str = ""
    network: str = ""
    side_px: int = 0
    problem: str = ""
    process_s: float = 0.0
    process_cpu_s: float = 0.0
    peak_bytes: int = 0
    map_s: float = 0.0
    map_cpu_s: float = 0.0
    before_bytes: int = 0
    same: float | None = None
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common.

    Args:
        folder: Where scenes, weights and maps lie.
        threads: Threads within torch.
        batch: Tiles through the network at once.
        terratorch_python: Interpreter of TerraTorch's environment, if there is one.
    """

    folder: Path
    threads: int
    batch: int
    terratorch_python: str | None

    def map_once(self, contender: str, network: str, side_px: int) -> Run:
        """Let one contender map one scene."""
        script, variant = CONTENDERS[contender]
        python = self.terratorch_python if contender.startswith("TerraTorch") else sys.executable
        if python is None:
            return Run(contender, network, side_px, "not run: no --terratorch-python")
        output, first = (
            self.folder / f"{network} {side_px} {name}.tif"
            for name in (contender, next(iter(CONTENDERS)))
        )
        command = [
            python, HERE / script, self.scene(side_px), self.folder, output,
            network, self.threads, self.batch, variant,
        ]  # fmt: skip
        run = replace(measured(command, self.threads), contender=contender)
        run = replace(run, network=network, side_px=side_px)
        if run.problem or not first.exists():
            return run
        return replace(run, same=float(inputs("alike", first, output)))

    def scene(self, side_px: int) -> Path:
        """Return where the scene of that side lies."""
        return self.folder / f"scene_{side_px}.tif"


def measured(command: Sequence[object], threads: int) -> Run:
    """Run a contender; return what it took, and its complaints to stderr where it failed."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaints:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, command)], stdout=told, stderr=complaints, env=environment
        )
        # Waited for here, since only this call tells what one child alone has used.
        _, status, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (told, complaints):
            file.seek(0)
        if process.returncode:
            sys.stderr.write(complaints.read().decode(errors="replace")[-2000:])
            return Run(problem=f"ended with status {process.returncode}")
        own = json.loads(told.read().splitlines()[-1])
    return Run(
        process_s=took,
        process_cpu_s=used.ru_utime + used.ru_stime,
        peak_bytes=used.ru_maxrss * 1024,
        map_s=own["seconds"],
        map_cpu_s=own["cpu"],
        before_bytes=own["before"],
        versions=own["versions"],
    )


def inputs(*arguments: object) -> str:
    """Run ``inputs.py``; return what it prints."""
    command = [sys.executable, str(HERE / "inputs.py"), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def table(runs: list[Run], network: str) -> str:
    """Return the medians of all rounds with a network as a table."""
    lines = [
        "| side, px | | map, s | map, CPU s | process, s | process, CPU s | peak, MB "
        "| grown by, MB | same class |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        if run.network == network:
            groups.setdefault((run.side_px, run.contender), []).append(run)
    order = list(CONTENDERS)
    for side_px, contender in sorted(groups, key=lambda key: (key[0], order.index(key[1]))):
        several = groups[side_px, contender]
        problem = next((run.problem for run in several if run.problem), None)
        if problem:
            lines.append(f"| {side_px} | {contender} | {problem} |" + " |" * 6)
            continue
        cells = [
            f"{statistics.median(getattr(run, name) for run in several):.1f}"
            for name in ("map_s", "map_cpu_s", "process_s", "process_cpu_s")
        ]
        peak = statistics.median(run.peak_bytes for run in several)
        grown = statistics.median(run.peak_bytes - run.before_bytes for run in several)
        cells += [f"{peak / 1e6:.0f}", f"{grown / 1e6:.0f}"]
        same = several[0].same
        cells.append("" if same is None else f"{100 * same:.2f} %")
        lines.append(f"| {side_px} | {contender} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    usual = [name for name in CONTENDERS if name != "TerraTorch, aligned"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[1000, 2000], metavar="PX")
    parser.add_argument("--networks", nargs="+", choices=("conv", "vit"), default=["conv", "vit"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=usual)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--terratorch-python", metavar="PYTHON")
    parser.add_argument(
        "--results",
        type=Path,
        help="add each run that made a map to this file, as JSON; print all that it holds",
    )
    return parser.parse_args()


def take_turns(asked: argparse.Namespace) -> Iterator[Run]:
    """Make scenes and weights, then yield what each contender took, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), asked.threads, asked.batch, asked.terratorch_python)
        inputs("weights", folder)
        for side_px in asked.sides:
            inputs("scene", setting.scene(side_px), side_px)
        for _, side_px, network in product(range(asked.rounds), asked.sides, asked.networks):
            for contender in asked.contenders:
                yield setting.map_once(contender, network, side_px)


def main() -> None:
    """Let the contenders take turns, and print the tables."""
    asked = read_arguments()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ")
    print(f"{asked.threads} threads, batches of {asked.batch}, {datetime.now(UTC):%Y-%m-%d}")
    runs: list[Run] = []
    if asked.results and asked.results.exists():
        lines = asked.results.read_text(encoding="utf-8").splitlines()
        runs = [Run(**json.loads(line)) for line in lines]
    for run in take_turns(asked):
        runs.append(run)
        line = json.dumps(asdict(run))
        print(line, file=sys.stderr, flush=True)
        if asked.results and not run.problem:
            with asked.results.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
    for network in sorted({run.network for run in runs}):
        print(f"\n{network}\n\n{table(runs, network)}")
    known = {name: number for run in runs for name, number in run.versions.items()}
    print("\n" + ", ".join(f"{name} {number}" for name, number in sorted(known.items())))


if __name__ == "__main__":
    main()
