"""What learned scales buy: fixed ones, a grid of them, joint training, and each strategy.

Results are kept, line by line, in a file that a later call goes on with. What costs most
(strategies that look ahead, and evolution) comes last; comparisons are of seeds that both have:

    python benchmarks/bench_metapeft.py RESULTS.jsonl [SEEDS] [STEPS] [clouds=FOLDER] [tuner=NAME]
    python benchmarks/bench_metapeft.py --table RESULTS.jsonl ...

Tuners may be shared out over processes, with a file for each.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quick_run import quick_run
from transfer import Task, clouds, landsat, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TUNERS = ("lora", "adaptformer", "ssf")
GRID = (0.1, 0.3, 1.0, 3.0, 10.0)
STRATEGIES = (
    "joint", "first_order", "unrolled", "finite_difference", "evolution",
)  # fmt: skip

#: Those that cost most.
LATE = STRATEGIES[2:]

#: The head sees the backbone's last map alone, and the stem stays: what adapts are adapters.
COMMON = (
    "model.head=linear", "model.stem.trainable=false", "data.chip_px=32", "data.batch_size=8",
    "trainer.optimizer.lr=0.01",
)  # fmt: skip

#: So short a run must let scales travel: thirty outer steps that may change rho by 0.1 each.
OUTER = "every_n_steps: 5, lr: 0.1, inner_steps: 1"

#: The loss by task: the published one for long tails, and the plain one where a class that does
#: not transfer at all (water, 0.3 % of the test scene) would be bought with all others.
LOSS = {"landsat": "logit_adjusted", "clouds": "ce"}

#: Rare classes, where it is not the rarest third.
TAIL = {"clouds": ("water", "shadow")}

Run = dict[str, Any]
Key = tuple[str, str, str, int]


def variants(tuner: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each way of having scales, with its overrides."""
    for scale in GRID:
        yield f"fixed at {scale:g}", (f"tuner={{preset: {tuner}, scale: {scale:g}}}",)
    for strategy in STRATEGIES:
        yield strategy, (f"tuner={tuner}", f"meta={{preset: {strategy}, {OUTER}}}")


def jobs(tasks: dict[str, Task], seeds: int) -> Iterator[tuple[Key, tuple[str, ...]]]:
    """Yield every run: first the cheaper variants of all seeds, then the others."""
    for task in tasks:
        for bound, lr in (("head", "0.01"), ("full", "0.003")):
            for seed in range(seeds):
                yield (task, bound, "none", seed), (f"tuner={bound}", f"trainer.optimizer.lr={lr}")
    for late in (False, True):
        for seed in range(seeds):
            for task in tasks:
                for tuner in TUNERS:
                    for name, given in variants(tuner):
                        if (name in LATE) == late:
                            yield (task, tuner, name, seed), given


def run_all(results: Path, seeds: int, steps: int, options: dict[str, str]) -> None:
    """Run what is missing in the file, and append it there as it comes."""
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    done = {key_of(run) for run in read(results)}
    with tempfile.TemporaryDirectory() as folder, results.open("a", encoding="utf-8") as file:
        tasks = {"landsat": landsat(Path(folder))}
        if "clouds" in options:
            tasks["clouds"] = clouds(Path(options["clouds"]))
        for key, given in jobs(tasks, seeds):
            if key in done or options.get("tuner", key[1]) != key[1]:
                continue
            found = quick_run(tasks[key[0]], key[3], steps, *COMMON, f"loss={LOSS[key[0]]}", *given)
            line = dict(zip(("task", "tuner", "variant", "seed"), key, strict=True))
            file.write(json.dumps({**line, "steps": steps, "machine": machine(), **found}) + "\n")
            file.flush()
            print(*key, f"accuracy {found['accuracy']:.3f}, {found['seconds']:.1f} s", flush=True)


def read(results: Path) -> list[Run]:
    """Return the runs of a file; none where there is no file."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def key_of(run: Run) -> Key:
    """Return what tells a run from the others."""
    return run["task"], run["tuner"], run["variant"], run["seed"]


def average(run: Run) -> float:
    """Return the mean accuracy (recall) of the classes that occur in the test part."""
    return statistics.mean(one["recall"] for one in run["classes"].values())


def tail(run: Run) -> float:
    """Return the mean accuracy (recall) of the rare classes."""
    order = sorted(run["counts"], key=run["counts"].__getitem__)
    rare = TAIL.get(run["task"], order[: len(order) // 3])
    return statistics.mean(run["classes"][name]["recall"] for name in rare)


def print_tables(runs: list[Run]) -> None:
    """Print one table for each task and tuner, over the seeds that all variants have."""
    print(f"{runs[0]['machine']}; {runs[0]['steps']} steps of 8 chips of 32 px")
    for task in dict.fromkeys(run["task"] for run in runs):
        bounds = [run for run in runs if run["task"] == task and run["tuner"] in ("head", "full")]
        print(f"\n## {task}\n")
        for name in ("head", "full"):
            own = [run for run in bounds if run["tuner"] == name]
            print(f"`{name}`: average {_cell(own, average)}, tail {_cell(own, tail)}, "
                  f"learns {own[0]['learned']:,}\n")  # fmt: skip
        for tuner in TUNERS:
            own = [run for run in runs if (run["task"], run["tuner"]) == (task, tuner)]
            if own:
                _print_table(task, tuner, own)


def _print_table(task: str, tuner: str, runs: list[Run]) -> None:
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        found.setdefault(run["variant"], {})[run["seed"]] = run
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in found.values())))
    by_variant = {name: [by_seed[seed] for seed in seeds] for name, by_seed in found.items()}
    one = by_variant["fixed at 1"]
    grid = [name for name in by_variant if name.startswith("fixed")]
    best = {
        score: max(grid, key=lambda name: statistics.mean(map(score, by_variant[name])))
        for score in (average, tail)
    }
    print(f"\n### {task}, `{tuner}`, {len(seeds)} seeds; best of the grid: average "
          f"{best[average]}, tail {best[tail]}\n")  # fmt: skip
    print("| | average | tail | average - fixed 1 | tail - fixed 1 | average - best of grid | "
          "tail - best of grid | learns | cost |\n" + "|---" * 9 + "|")  # fmt: skip
    for name, own in by_variant.items():
        differences = [
            _difference(own, other, score)
            for other_of in (lambda _: "fixed at 1", best.__getitem__)
            for score in (average, tail)
            for other in [by_variant[other_of(score)]]
        ]
        cost = statistics.mean(a["seconds"] / b["seconds"] for a, b in zip(own, one, strict=True))
        print(f"| {name} | {_cell(own, average)} | {_cell(own, tail)} | {' | '.join(differences)} "
              f"| {own[0]['learned']:,} | {cost:.2f} |")  # fmt: skip


def _cell(runs: list[Run], score: Callable[[Run], float]) -> str:
    values = [100 * score(run) for run in runs]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


def _difference(own: list[Run], other: list[Run], score: Callable[[Run], float]) -> str:
    """Return the mean difference of equal seeds with its standard error, in points."""
    values = [100 * (score(a) - score(b)) for a, b in zip(own, other, strict=True)]
    if not any(values):
        return "0"
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):+.1f} (± {error:.1f})"


def main() -> None:
    """Run, or print the tables of what was run."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    if words[:1] == ["--table"]:
        print_tables([run for word in words[1:] for run in read(Path(word))])
        return
    if not words:
        sys.exit(__doc__)
    options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    seeds, steps = (int(words[i]) if len(words) > i else given for i, given in ((1, 5), (2, 150)))
    run_all(Path(words[0]), seeds, steps, options)


if __name__ == "__main__":
    main()
