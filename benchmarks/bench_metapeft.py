"""What learned scales buy: fixed ones, a grid of them, joint training, and each strategy.

python benchmarks/bench_metapeft.py [SEEDS] [STEPS] [TUNER ...] [clouds=DATA_FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from transfer import HEADER, Task, clouds, landsat, machine, row

GRID = (0.1, 0.3, 1.0, 3.0, 10.0)
STRATEGIES = ("joint", "first_order", "finite_difference", "unrolled", "evolution")


def table(name: str, task: Task, tuner: str, seeds: int, steps: int) -> None:
    """Print one table: a row per way of having scales."""
    print(f"\n### {name}, `{tuner}`\n\n{HEADER}", flush=True)
    for scale in GRID:
        given = f"tuner={{preset: {tuner}, scale: {scale:g}}}"
        print(row(f"fixed at {scale:g}", task, seeds, steps, given), flush=True)
    for strategy in STRATEGIES:
        given = (f"tuner={tuner}", f"meta={strategy}")
        print(row(f"`meta: {strategy}`", task, seeds, steps, *given), flush=True)


def main() -> None:
    """Print the tables of the sample task, and of the real one where its folder is given."""
    words = [word for word in sys.argv[1:] if not word.startswith("clouds=")]
    real = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("clouds=")]
    seeds = int(words[0]) if words else 5
    steps = int(words[1]) if len(words) > 1 else 200
    tuners = words[2:] or ["lora", "adaptformer", "ssf"]
    print(f"{machine()}; {steps} steps of 16 chips, {seeds} seeds")
    with tempfile.TemporaryDirectory() as folder:
        tasks = [("landsat", landsat(Path(folder)))]
        tasks += [("clouds", clouds(Path(place))) for place in real]
        for name, task in tasks:
            for tuner in tuners:
                table(name, task, tuner, seeds, steps)


if __name__ == "__main__":
    main()
