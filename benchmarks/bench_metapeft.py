"""What learned scales buy over fixed ones, by learning rate and starting scale.

Every finished run is a line of a file, which a later call continues; differences are of runs with
the same seed, task, tuner and optimizer:

    python benchmarks/bench_metapeft.py RESULTS.jsonl [grid=core] [seeds=8] [steps=150] [clouds=DIR]
    python benchmarks/bench_metapeft.py --table RESULTS.jsonl ...

``grid=core`` is LoRA on ``landsat`` at two rates of AdamW. ``grid=full`` adds tasks, tuners, SGD,
starting scales, strategies, objectives and shuffled labels: thousands of runs of seconds each,
which several processes can share (``task=``, ``tuner=`` or ``optimizer=`` choose among them), with
a file for each.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from quick_run import quick_run
from transfer import Task, clouds, landsat, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Run = dict[str, Any]

#: The head sees the backbone's last map alone, and the stem stays: what adapts are adapters.
COMMON = (
    "model.head=linear", "model.stem.trainable=false", "data.chip_px=32", "data.batch_size=8",
    "loss=ce",
)  # fmt: skip

TUNERS = {
    "lora": "{method: lora, positions: [attn, mlp], scale: SCALE}",
    "adaptformer": "{preset: adaptformer, scale: SCALE}",
    "ssf": "{preset: ssf, scale: SCALE}",
}

#: Ways to set scales, by name.
VARIANTS = {
    "fixed": "fixed",
    "first_order": "first_order",
    "published": "published",
    "gate 0": "{preset: first_order, gate: 0}",
    "no training gradients": "{preset: first_order, training_gradients: false, batches: 4}",
    "site": "{preset: first_order, granularity: site}",
    "joint": "joint",
    "unrolled": "unrolled",
    "balanced": "{preset: first_order, objective: balanced, batches: 4}",
    "tail": "{preset: first_order, objective: tail, batches: 4}",
    "worst": "{preset: first_order, objective: worst, batches: 4}",
    "held_out": "{preset: first_order, source: held_out, batches: 4}",
}

#: (optimizer, rate), starting scales, ways.
CORE = ((("adamw", 0.001), ("adamw", 0.01)), (1.0,), ("first_order",))
FIXED = {"core": (1.0, 10.0, 3.0), "full": (0.1, 0.3, 1.0, 3.0, 10.0)}
FULL = (
    (("adamw", 0.001), ("adamw", 0.003), ("adamw", 0.01), ("sgd", 0.1), ("sgd", 1.0)),
    (1.0, 0.1, 0.3, 3.0, 10.0),
    tuple(name for name in VARIANTS if name != "fixed"),
)

KEY = ("task", "tuner", "optimizer", "lr", "variant", "start", "seed")


def jobs(grid: str, tasks: list[str], seeds: int) -> Iterator[Run]:
    """Yield every run of a grid, those that are compared with each other close together."""
    rates, starts, ways = CORE if grid == "core" else FULL
    tuners = ["lora"] if grid == "core" else list(TUNERS)
    chosen = [("fixed", scale) for scale in FIXED[grid]]
    chosen[2:2] = list(product(ways, starts))  # the pair of fixed ones that matters most is first
    for seed, task, tuner, (optimizer, lr) in product(range(seeds), tasks, tuners, rates):
        for variant, start in chosen:
            yield dict(zip(KEY, (task, tuner, optimizer, lr, variant, start, seed), strict=True))


def overrides(run: Run) -> tuple[str, ...]:
    """Return the settings of a run."""
    optimizer = f"trainer.optimizer={{name: {run['optimizer']}, lr: {run['lr']}}}"
    tuner = TUNERS[run["tuner"]].replace("SCALE", str(run["start"]))
    return (*COMMON, optimizer, f"tuner={tuner}", f"meta={VARIANTS[run['variant']]}")


def run_all(results: Path, options: dict[str, str]) -> None:
    """Run what is missing in the file, and append it there as it comes."""
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    done = {key_of(run) for run in read(results)}
    steps, seeds = int(options.get("steps", 150)), int(options.get("seeds", 8))
    with tempfile.TemporaryDirectory() as folder, results.open("a", encoding="utf-8") as file:
        tasks: dict[str, Task] = {"landsat": landsat(Path(folder))}
        if "clouds" in options:
            tasks["clouds"] = clouds(Path(options["clouds"]))
        for run in jobs(options.get("grid", "core"), list(tasks), seeds):
            asked = all(options.get(k, run[k]) == run[k] for k in ("task", "tuner", "optimizer"))
            if key_of(run) in done or not asked:
                continue
            found = quick_run(tasks[run["task"]], run["seed"], steps, *overrides(run))
            line = json.dumps({**run, "steps": steps, "machine": machine(), **found})
            file.write(line + "\n")
            file.flush()
            print(*key_of(run), f"{100 * average({**run, **found}):.1f}", flush=True)


def read(results: Path) -> list[Run]:
    """Return the runs of a file; none where there is no file."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def key_of(run: Run) -> tuple[Any, ...]:
    """Return what distinguishes a run from the others."""
    return tuple(run[name] for name in KEY)


def average(run: Run) -> float:
    """Return the mean recall of the classes that occur in the test part."""
    return statistics.mean(one["recall"] for one in run["classes"].values())


def tail(run: Run) -> float:
    """Return the mean recall of the rarest third of the classes."""
    order = [name for name in sorted(run["counts"], key=run["counts"].__getitem__)
             if name in run["classes"]]  # fmt: skip
    return statistics.mean(run["classes"][name]["recall"] for name in order[: len(order) // 3])


def print_tables(runs: list[Run]) -> None:
    """Print a table for each task, tuner, optimizer and rate."""
    groups: dict[tuple[Any, ...], dict[tuple[str, float], dict[int, Run]]]
    groups = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        groups[key_of(run)[:4]][run["variant"], run["start"]][run["seed"]] = run
    print(f"{runs[0]['machine']}; {runs[0]['steps']} steps of 8 chips of 32 px")
    for group, found in groups.items():
        print("\n##", *group, "\n")
        header = ("scales", "start", "seeds", "average", "tail", "average - fixed 1",
                  "tail - fixed 1", "average - best fixed", "final scales", "agreement",
                  "cost")  # fmt: skip
        print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
        one = found["fixed", 1.0]
        best = max((by_seed for (way, _), by_seed in found.items() if way == "fixed"),
                   key=lambda by_seed: mean(by_seed, average))  # fmt: skip
        for (variant, start), by_seed in found.items():
            cost = sum(by_seed[s]["seconds"] for s in by_seed.keys() & one.keys())
            cells = (
                variant, f"{start:g}", len(by_seed), f"{mean(by_seed, average):.1f}",
                f"{mean(by_seed, tail):.1f}", difference(by_seed, one, average),
                difference(by_seed, one, tail), difference(by_seed, best, average),
                level(by_seed), agreement(by_seed),
                f"{cost / sum(one[s]['seconds'] for s in by_seed.keys() & one.keys()):.2f}",
            )  # fmt: skip
            print(f"| {' | '.join(map(str, cells))} |")


def mean(by_seed: dict[int, Run], score: Callable[[Run], float]) -> float:
    """Return the mean of a score, in points."""
    return 100 * statistics.mean(map(score, by_seed.values()))


def difference(own: dict[int, Run], other: dict[int, Run], score: Callable[[Run], float]) -> str:
    """Return the mean difference of pairs of seeds with its standard error, in points."""
    pairs = [100 * (score(own[seed]) - score(other[seed])) for seed in own if seed in other]
    if not any(pairs):
        return "0"
    error = f" ± {statistics.stdev(pairs) / len(pairs) ** 0.5:.1f}" if len(pairs) > 1 else ""
    return f"{statistics.mean(pairs):+.1f}{error}"


def level(by_seed: dict[int, Run]) -> str:
    """Return the geometric mean of all final scales, and the smallest and largest."""
    scales = [scale for run in by_seed.values() for scale in run["scales"].values()]
    if not scales:
        return ""
    middle = math.exp(statistics.mean(map(math.log, scales)))
    return f"{middle:.2f} ({min(scales):.2f} to {max(scales):.2f})"


def agreement(by_seed: dict[int, Run]) -> str:
    """Return the mean correlation of log scales between seeds."""
    logs = [np.log(list(run["scales"].values())) for run in by_seed.values() if run["scales"]]
    pairs = [float(np.corrcoef(a, b)[0, 1]) for a, b in combinations(logs, 2)]
    return f"{statistics.mean(pairs):.2f}" if pairs else ""


def main() -> None:
    """Run, or print the tables of what was run."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    if words[:1] == ["--table"]:
        print_tables([run for word in words[1:] for run in read(Path(word))])
        return
    if not words:
        sys.exit(__doc__)
    run_all(Path(words[0]), dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word))


if __name__ == "__main__":
    main()
