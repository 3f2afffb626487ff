"""What learned scales buy over fixed ones, by learning rate and starting scale.

Every finished run is a line of a file, which a later call continues; differences are of runs with
the same seed, task, tuner and optimizer:

    python benchmarks/bench_metapeft.py RESULTS.jsonl [seeds=8] [steps=150] [clouds=DIR] [vits=FILE]
    python benchmarks/bench_metapeft.py --table RESULTS.jsonl ...
    python benchmarks/bench_metapeft.py --write RESULTS.jsonl ...     # into metapeft.md

The most telling runs come first: LoRA on ``landsat``, every rate and starting scale; the tail's
objective and shuffled labels; then real clouds, other tuners, and a ViT of 22 M parameters.
``task=``, ``tuner=`` or ``optimizer=`` choose among them, so that several processes can share the
work, with a file for each.
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
    from collections.abc import Callable, Collection, Iterator

Run = dict[str, Any]

#: Runs by way of setting scales with its start, and by seed.
Group = dict[tuple[str, float], dict[Any, Run]]

#: Between these lines of metapeft.md the tables are put.
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"

#: The head sees the backbone's last map alone, and the stem stays: what adapts are adapters.
COMMON = (
    "model.head=linear", "model.stem.trainable=false", "data.batch_size=8", "data.chip_px=16",
    "loss=ce",
)  # fmt: skip

TUNERS = {
    "lora": "{method: lora, positions: [attn, mlp], scale: SCALE}",
    "adaptformer": "{preset: adaptformer, scale: SCALE}",
    "ssf": "{preset: ssf, scale: SCALE}",
}

#: For the relation of scale and rank: plain, with a normalised change, and rank-stabilised.
RANKS = {
    f"rank {rank}{form and ', ' + form.split(':')[0]}": TUNERS["lora"].replace(
        "}", f", rank: {rank}{form and ', ' + form}}}"
    )
    for rank in (2, 8, 32, 64)
    for form in ("", "norm: 0.1", "rank_stabilised: true")
}

#: Ways to set scales, by name.
VARIANTS = {
    "fixed": "fixed",
    "first_order": "first_order",
    "published": "published",
    "shuffled": "first_order",
    "7 steps": "{preset: first_order, trial_share: 0.07}",
    "untried": "{preset: first_order, trial_share: 0}",
    "gate 0": "{preset: first_order, gate: 0}",
    "site": "{preset: first_order, granularity: site}",
    "joint": "joint",
    "unrolled": "unrolled",
    "balanced": "{preset: first_order, objective: balanced, batches: 4}",
    "tail": "{preset: first_order, objective: tail, batches: 4}",
    "worst": "{preset: first_order, objective: worst, batches: 4}",
    "held_out": "{preset: first_order, source: held_out, batches: 4}",
}

#: Rates of AdamW and SGD.
RATES = (("adamw", 0.001), ("adamw", 0.01), ("sgd", 0.3), ("sgd", 0.03))

KEY = ("task", "tuner", "optimizer", "lr", "variant", "start", "seed")


def stages(tasks: Collection[str]) -> Iterator[tuple[Any, ...]]:
    """Yield groups of runs, most telling first: task, tuners, rates, ways with starts, seeds.

    Learned scales are run from one start: trials make all starts the same run.
    """
    fixed = [("fixed", start) for start in (1.0, 10.0, 0.1)]
    few = [("first_order", 1.0), *fixed]
    for rate in (RATES[1], RATES[0], RATES[2]):
        yield "landsat", ["lora"], [rate], few, 8
    asked = [("tail", 1.0), ("shuffled", 1.0)]
    yield "landsat", ["lora"], RATES[1:2], asked, 8
    if "clouds" in tasks:
        yield "clouds", ["lora"], RATES[:3:2], few, 8
    yield "landsat", ["lora"], RATES[:3], [("fixed", 3.0), ("fixed", 0.3)], 8
    yield "landsat", ["adaptformer", "ssf"], RATES[:3:2], few, 8
    for task in tasks:
        if task.startswith("vits"):
            yield task, ["lora"], RATES[:1], few, 2
    others = [(way, 1.0) for way in ("untried", "gate 0", "published", "joint", "balanced")]
    yield "landsat", ["lora"], RATES, [*few, *asked, *others], 8
    ranks = [name for name in TUNERS | RANKS if "rank" in name]
    yield "landsat", ranks, RATES[:1], [("first_order", 1.0)], 3


def jobs(tasks: Collection[str], seeds: int) -> Iterator[Run]:
    """Yield every run, those that are compared with each other close together."""
    for task, tuners, rates, ways, most in stages(tasks):
        for seed, tuner, (optimizer, lr) in product(range(min(seeds, most)), tuners, rates):
            for variant, start in ways:
                values = (task, tuner, optimizer, lr, variant, start, seed)
                yield dict(zip(KEY, values, strict=True))


def overrides(run: Run) -> tuple[str, ...]:
    """Return the settings of a run."""
    optimizer = f"trainer.optimizer={{name: {run['optimizer']}, lr: {run['lr']}}}"
    tuner = (TUNERS | RANKS)[run["tuner"]].replace("SCALE", str(run["start"]))
    chips = ("data.chip_px=56",) if run["task"].startswith("vits") else ()
    return (*COMMON, *chips, optimizer, f"tuner={tuner}", f"meta={VARIANTS[run['variant']]}")


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
        for depth in (9, 12) if "vits" in options else ():
            tasks[f"vits{depth}"] = vits(tasks["landsat"], Path(options["vits"]), depth)
        for run in jobs(tasks, seeds):
            asked = all(options.get(k, run[k]) == run[k] for k in ("task", "tuner", "optimizer"))
            if key_of(run) in done or not asked:
                continue
            found = quick_run(
                tasks[run["task"]], run["seed"], steps, *overrides(run),
                shuffled=run["variant"] == "shuffled",
            )  # fmt: skip
            line = json.dumps({**run, "steps": steps, "machine": machine(), **found})
            file.write(line + "\n")
            file.flush()
            print(*key_of(run), f"{100 * average({**run, **found}):.1f}", flush=True)


def vits(task: Task, weights: Path, depth: int) -> Task:
    """Return a task with a natural-image ViT-S of some depth as its backbone."""
    model = (
        f"model={{backbone: vit_small_patch14_dinov2, checkpoint: {weights}, head: linear, "
        f"options: {{img_size: 56, depth: {depth}}}}}"
    )
    return Task(task.config, (*task.overrides, model))


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


def tables(runs: list[Run]) -> str:
    """Return the summary, and a table for each task, tuner, optimizer and rate."""
    groups: dict[tuple[Any, ...], Group] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        groups[key_of(run)[:4]][run["variant"], run["start"]][run["seed"]] = run
    steps, made_on = runs[0]["steps"], runs[0]["machine"]
    lines = [f"{len(runs)} runs of {steps} steps of 8 chips; {made_on}.", *summary(groups)]
    for group, found in groups.items():
        header = ("scales", "start", "seeds", "average", "tail", "average - fixed",
                  "tail - fixed", "average - best fixed", "tail - best fixed", "final scales",
                  "agreement", "cost")  # fmt: skip
        lines += ["", f"### {', '.join(map(str, group))}", "", *head(header)]
        best = best_fixed(found)
        lines += [row(found, way, best) for way in found]
    return "\n".join(lines)


def summary(groups: dict[tuple[Any, ...], Group]) -> list[str]:
    """Return what the aims ask: learned scales against fixed ones, over starts and rates.

    Trials make all starts the same run, which is compared with the fixed scale of each.
    """
    header = ("task, tuner, optimizer, rate", "seeds", "learned - fixed, mean over starts",
              "learned - best fixed", "cost")  # fmt: skip
    lines = ["", *head(header)]
    for group, found in groups.items():
        learned, best = found.get(("first_order", 1.0), {}), best_fixed(found)
        if not learned or not best:
            continue
        fixed = [by_seed for (way, _), by_seed in found.items() if way == "fixed"]
        seeds = [seed for seed in learned if all(seed in by_seed for by_seed in fixed)]
        pairs = [
            statistics.mean(100 * (average(learned[s]) - average(one[s])) for one in fixed)
            for s in seeds
        ]
        cells = (", ".join(map(str, group)), len(learned), spread(pairs),
                 difference(learned, best, average),
                 cost(learned, found.get(("fixed", 1.0), {})))  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def head(names: tuple[str, ...]) -> list[str]:
    """Return the first two lines of a table."""
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def row(found: Group, way: tuple[str, float], best: dict[Any, Run]) -> str:
    """Return a way's line in the table of its group."""
    (variant, start), by_seed = way, found[way]
    same = found.get(("fixed", start), {})
    cells = (
        variant, f"{start:g}", len(by_seed), f"{mean(by_seed, average):.1f}",
        f"{mean(by_seed, tail):.1f}", difference(by_seed, same, average),
        difference(by_seed, same, tail), difference(by_seed, best, average),
        difference(by_seed, best, tail), level(by_seed), agreement(by_seed), cost(by_seed, same),
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def best_fixed(found: Group) -> dict[Any, Run]:
    """Return the runs of the fixed scale with the highest average; none were run: none."""
    fixed = [by_seed for (way, _), by_seed in found.items() if way == "fixed" and by_seed]
    return max(fixed, key=lambda by_seed: mean(by_seed, average), default={})


def cost(own: dict[Any, Run], other: dict[Any, Run]) -> str:
    """Return CPU seconds relative to those of the same seeds."""
    seeds = own.keys() & other.keys()
    if not seeds:
        return ""
    return f"{sum(own[s]['seconds'] for s in seeds) / sum(other[s]['seconds'] for s in seeds):.2f}"


def write(text: str) -> None:
    """Put the tables between the markers of metapeft.md."""
    page = Path(__file__).with_name("metapeft.md")
    before, rest = page.read_text(encoding="utf-8").split(f"{BEGIN}\n")
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def mean(by_seed: dict[Any, Run], score: Callable[[Run], float]) -> float:
    """Return the mean of a score, in points."""
    return 100 * statistics.mean(map(score, by_seed.values()))


def difference(own: dict[Any, Run], other: dict[Any, Run], score: Callable[[Run], float]) -> str:
    """Return the mean difference of pairs of seeds with its standard error, in points."""
    pairs = [100 * (score(own[seed]) - score(other[seed])) for seed in own if seed in other]
    return spread(pairs) if any(pairs) or not pairs else "0"


def spread(values: list[float]) -> str:
    """Return the mean of values, and its standard error if there are several."""
    if not values:
        return ""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.1f}{error}"


def level(by_seed: dict[Any, Run]) -> str:
    """Return the geometric mean of all final scales, and the smallest and largest."""
    scales = [scale for run in by_seed.values() for scale in run["scales"].values()]
    if not scales:
        return ""
    middle = math.exp(statistics.mean(map(math.log, scales)))
    return f"{middle:.2f} ({min(scales):.2f} to {max(scales):.2f})"


def agreement(by_seed: dict[Any, Run]) -> str:
    """Return the mean correlation of log scales between seeds."""
    logs = [np.log(list(run["scales"].values())) for run in by_seed.values() if run["scales"]]
    pairs = [float(np.corrcoef(a, b)[0, 1]) for a, b in combinations(logs, 2)]
    return f"{statistics.mean(pairs):.2f}" if pairs else ""


def main() -> None:
    """Run, or print the tables of what was run."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    if words[:1] in (["--table"], ["--write"]):
        text = tables([run for word in words[1:] for run in read(Path(word))])
        (write if words[0] == "--write" else print)(text)
        return
    if not words:
        sys.exit(__doc__)
    run_all(Path(words[0]), dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word))


if __name__ == "__main__":
    main()
