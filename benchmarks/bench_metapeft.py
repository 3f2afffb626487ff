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

#: Other meta steps, tried with LoRA: a steadier gradient, and the defaults.
OTHER = {
    "first_order, 4 batches": "every_n_steps: 5, lr: 0.1, batches: 4",
    "first_order, defaults": "every_n_steps: 8, lr: 0.02",
}

#: Those that cost most, or are asked last.
LATE = (*STRATEGIES[2:], *OTHER)

#: The head sees the backbone's last map alone, and the stem stays: what adapts are adapters.
COMMON = (
    "model.head=linear", "model.stem.trainable=false", "data.chip_px=32", "data.batch_size=8",
    "trainer.optimizer.lr=0.01",
)  # fmt: skip

#: So short a run must let scales travel: thirty meta steps that may change rho by 0.1 each.
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
    for name, keys in OTHER.items() if tuner == "lora" else ():
        yield name, (f"tuner={tuner}", f"meta={{preset: first_order, {keys}}}")


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
    """Print one table for each task and tuner, and what all of them say together."""
    runs = list({key_of(run): run for run in runs}.values())
    print(f"{runs[0]['machine']}; {runs[0]['steps']} steps of 8 chips of 32 px")
    together: dict[str, list[tuple[Run, Run, Run]]] = {}
    for task in dict.fromkeys(run["task"] for run in runs):
        print(f"\n## {task}\n")
        for bound in ("head", "full"):
            own = [run for run in runs if (run["task"], run["tuner"]) == (task, bound)]
            if own:
                print(f"`{bound}`, {len(own)} seeds: average {cell(own, average)}, tail "
                      f"{cell(own, tail)}, learns {own[0]['learned']:,}\n")  # fmt: skip
        for tuner in TUNERS:
            found: dict[str, dict[int, Run]] = {}
            for run in runs:
                if (run["task"], run["tuner"]) == (task, tuner):
                    found.setdefault(run["variant"], {})[run["seed"]] = run
            if found:
                print(f"\n### {task}, `{tuner}`\n")
                for name, triples in _print_table(found).items():
                    together.setdefault(name, []).extend(triples)
    print("\n## All tasks and tuners\n")
    print(
        "| | pairs | average - fixed 1 | tail - fixed 1 | average - best of grid |\n"
        + "|---" * 5
        + "|"
    )
    for name, triples in together.items():
        own, one, best = (list(column) for column in zip(*triples, strict=True))
        print(f"| {name} | {len(own)} | {difference(own, one, average)} | "
              f"{difference(own, one, tail)} | {difference(own, best, average)} |")  # fmt: skip


def _print_table(found: dict[str, dict[int, Run]]) -> dict[str, list[tuple[Run, Run, Run]]]:
    """Print a row for each variant; return each run with fixed 1 and the best of its seed's grid.

    The best of the grid is the fixed scale with the highest mean over seeds, chosen on the very
    scores that are shown: more than who tunes a scale on validation data can hope for.
    """
    grid = [name for name in found if name.startswith("fixed")]
    best = {
        score: max(grid, key=lambda name: statistics.mean(map(score, found[name].values())))
        for score in (average, tail)
    }
    print(f"Best of the grid: average {best[average]}, tail {best[tail]}.\n")
    header = ("", "seeds", "average", "tail", "average - fixed 1", "tail - fixed 1",
              "average - best", "tail - best", "learns", "cost")  # fmt: skip
    print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
    triples = {}
    for name, by_seed in found.items():
        own, cells = list(by_seed.values()), []
        for other in ({average: "fixed at 1", tail: "fixed at 1"}, best):
            for score in (average, tail):
                pairs = _pairs(by_seed, found[other[score]])
                cells.append(difference(*pairs, score))
        one, top = found["fixed at 1"], found[best[average]]
        both = [seed for seed in by_seed if seed in one and seed in top]
        triples[name] = [(by_seed[seed], one[seed], top[seed]) for seed in both]
        cost = sum(by_seed[i]["seconds"] for i in both) / sum(one[i]["seconds"] for i in both)
        print(
            f"| {name} | {len(own)} | {cell(own, average)} | {cell(own, tail)} | "
            f"{' | '.join(cells)} | {own[0]['learned']:,} | {cost:.2f} |"
        )
    return triples


def _pairs(own: dict[int, Run], other: dict[int, Run]) -> tuple[list[Run], list[Run]]:
    """Return the runs of two variants by the seeds that both have."""
    both = [seed for seed in own if seed in other]
    return [own[seed] for seed in both], [other[seed] for seed in both]


def cell(runs: list[Run], score: Callable[[Run], float]) -> str:
    """Return mean and sample deviation of a score over runs, in points."""
    values = [100 * score(run) for run in runs]
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def difference(own: list[Run], other: list[Run], score: Callable[[Run], float]) -> str:
    """Return the mean difference of pairs of runs with its standard error, in points."""
    values = [100 * (score(a) - score(b)) for a, b in zip(own, other, strict=True)]
    if not any(values):
        return "0"
    error = f" (± {statistics.stdev(values) / len(values) ** 0.5:.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.1f}{error}"


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
