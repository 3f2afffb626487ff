"""What learned scales buy over fixed ones, by learning rate and starting scale.

Every finished run is a line of a file, which a later call continues; differences are of runs with
the same seed, task, tuner, optimizer and number of steps:

    python benchmarks/bench_metapeft.py RESULTS.jsonl [clouds=DIR] [vits=FILE]
    python benchmarks/bench_metapeft.py --table RESULTS.jsonl ...
    python benchmarks/bench_metapeft.py --write RESULTS.jsonl ...     # into metapeft.md
    python benchmarks/bench_metapeft.py --curve RESULTS.jsonl ...     # docs/images/tail.png

The most telling runs come first: LoRA on ``landsat``, every rate; shuffled labels and other
objectives; other tuners; real clouds; a ViT of 22 M parameters; ranks. ``task=``, ``tuner=`` or
``optimizer=`` choose among them, so that processes can share the work, with a file for each.
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
    from collections.abc import Callable, Collection, Iterable, Iterator

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

#: For the relation of scale and rank: plain, with a normalised change, with rank-stabilised alpha.
FORMS = {"": "", ", norm 0.01": ", norm: 0.01", ", stabilised": ", rank_stabilised: true"}
RANKS = {
    f"rank {rank}{name}": TUNERS["lora"].replace("}", f", rank: {rank}{form}}}")
    for name, form in FORMS.items()
    for rank in (2, 8, 32, 64)
}

#: Ways to set scales, by name; ``adjusted``: the weights minimise a long-tail loss.
VARIANTS = {
    "fixed": "fixed",
    "first_order": "first_order",
    "shuffled": "first_order",
    "untried": "{preset: first_order, trial_share: 0}",
    "tail": "{preset: first_order, objective: tail, batches: 4}",
    "fixed, adjusted": "fixed",
    "first_order, adjusted": "first_order",
    "tail, adjusted": "{preset: first_order, objective: tail, batches: 4}",
}

#: Rates of AdamW and SGD.
RATES = (("adamw", 0.001), ("adamw", 0.01), ("sgd", 0.3), ("sgd", 0.03))

#: Optimizer steps: of the most telling runs, and of others.
LONG, SHORT = 300, 150

KEY = ("task", "tuner", "optimizer", "lr", "steps", "variant", "start", "seed")


def stages(tasks: Collection[str]) -> Iterator[tuple[Any, ...]]:
    """Yield groups of runs, most telling first: task, tuners, rates, steps, ways, seeds.

    Learned scales are run from one start: trials make all starts the same run.
    """
    learned = [("first_order", 1.0)]
    few = [*learned, *(("fixed", start) for start in (1.0, 10.0, 0.1))]
    yield "landsat", ["lora"], RATES[1:2], LONG, few, 8
    yield "landsat", ["lora"], RATES[3:], LONG, few, 8
    yield "landsat", ["lora"], RATES[:1], SHORT, few, 8
    if "clouds" in tasks:
        yield "clouds", ["lora"], RATES[:1], SHORT, few, 8
    yield "landsat", ["lora"], RATES[1:2], SHORT, [("shuffled", 1.0)], 8
    others = [(way, 1.0) for way in ("tail, adjusted", "fixed, adjusted", "tail")]
    yield "landsat", ["lora"], RATES[1:2], LONG, others[:2], 8
    yield "landsat", [*RANKS], RATES[:1], SHORT, learned, 8
    for task in tasks:
        if task.startswith("vits"):
            yield task, ["lora"], RATES[:1], SHORT, few, 8
    yield "landsat", ["adaptformer", "ssf"], RATES[1:2], SHORT, few[:3], 8
    yield "landsat", ["lora"], RATES[1:2], LONG, others, 8
    yield "landsat", ["lora"], RATES[2:3], SHORT, few, 8
    yield "landsat", ["lora"], RATES[1:2], LONG, [("fixed", 0.3), ("fixed", 3.0)], 8
    yield "landsat", ["adaptformer", "ssf"], RATES[:2], SHORT, few, 8


def jobs(tasks: Collection[str]) -> Iterator[Run]:
    """Yield every run, those that are compared with each other close together."""
    for task, tuners, rates, steps, ways, seeds in stages(tasks):
        for seed, tuner, (optimizer, lr) in product(range(seeds), tuners, rates):
            for variant, start in ways:
                values = (task, tuner, optimizer, lr, steps, variant, start, seed)
                yield dict(zip(KEY, values, strict=True))


def overrides(run: Run) -> tuple[str, ...]:
    """Return the settings of a run."""
    optimizer = f"trainer.optimizer={{name: {run['optimizer']}, lr: {run['lr']}}}"
    tuner = (TUNERS | RANKS)[run["tuner"]].replace("SCALE", str(run["start"]))
    more = ["data.chip_px=56"] if run["task"].startswith("vits") else []
    more += ["loss=logit_adjusted"] if "adjusted" in run["variant"] else []
    return (*COMMON, *more, optimizer, f"tuner={tuner}", f"meta={VARIANTS[run['variant']]}")


def run_all(results: Path, options: dict[str, str]) -> None:
    """Run what is missing in the file, and append it there as it comes."""
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    done = {key_of(run) for run in read(results)}
    with tempfile.TemporaryDirectory() as folder, results.open("a", encoding="utf-8") as file:
        tasks: dict[str, Task] = {"landsat": landsat(Path(folder))}
        if "clouds" in options:
            tasks["clouds"] = clouds(Path(options["clouds"]))
        for depth in (9, 12) if "vits" in options else ():
            tasks[f"vits{depth}"] = vits(tasks["landsat"], Path(options["vits"]), depth)
        for run in jobs(tasks):
            asked = all(options.get(k, run[k]) == run[k] for k in ("task", "tuner", "optimizer"))
            if key_of(run) in done or not asked:
                continue
            found = quick_run(
                tasks[run["task"]], run["seed"], run["steps"], *overrides(run),
                shuffled=run["variant"] == "shuffled",
            )  # fmt: skip
            file.write(json.dumps({**run, "machine": machine(), **found}) + "\n")
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
    """Return three tables: learned against fixed scales, other questions, and ranks."""
    groups: dict[tuple[Any, ...], Group] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        groups[key_of(run)[:5]][run["variant"], run["start"]][run["seed"]] = run
    return "\n".join([
        f"{len(runs)} runs; {runs[0]['machine']}.", "", *summary(groups), "", *asked(groups), "",
        *ranks(groups),
    ])  # fmt: skip


def summary(groups: dict[tuple[Any, ...], Group]) -> list[str]:
    """Return what the aims ask: learned scales against each fixed one, and the best of them."""
    starts = (0.1, 0.3, 1.0, 3.0, 10.0)
    lines = head(("run", "seeds", *(f"fixed {start:g}" for start in starts), "learned",
                  "- mean of fixed", "- best fixed", "tail - best fixed", "final scales",
                  "agreement", "cost"))  # fmt: skip
    for group, found in groups.items():
        learned, best = found.get(("first_order", 1.0), {}), best_fixed(found)
        if not learned or not best:
            continue
        fixed = complete(found)
        pairs = [
            statistics.mean(100 * (average(learned[s]) - average(one[s])) for one in fixed.values())
            for s in learned
        ]
        averages = [f"{mean(fixed[s], average):.1f}" if s in fixed else "" for s in starts]
        lines.append(line((
            name_of(group), len(learned), *averages, f"{mean(learned, average):.1f}",
            spread(pairs), difference(learned, best, average), difference(learned, best, tail),
            level(learned), agreement(learned), cost(learned, fixed.values()),
        )))  # fmt: skip
    return lines


def asked(groups: dict[tuple[Any, ...], Group]) -> list[str]:
    """Return how other objectives and shuffled labels differ from the best fixed scale."""
    lines = head(("run", "scales", "seeds", "average", "tail", "average - best fixed",
                  "tail - best fixed", "final scales", "agreement"))  # fmt: skip
    for group, found in groups.items():
        ways = [way for way in found if way[0] not in ("fixed", "first_order")]
        compared = [way for way in (("fixed", 1.0), ("first_order", 1.0)) if way in found]
        for way in [*compared, *ways] if ways else ():
            own, best = found[way], best_fixed(found)
            lines.append(line((
                name_of(group), f"fixed {way[1]:g}" if way[0] == "fixed" else way[0], len(own),
                f"{mean(own, average):.1f}", f"{mean(own, tail):.1f}",
                difference(own, best, average), difference(own, best, tail), level(own),
                agreement(own),
            )))  # fmt: skip
    return lines


def ranks(groups: dict[tuple[Any, ...], Group]) -> list[str]:
    """Return the learned scales by rank."""
    lines = head(("run", "seeds", "average", "final scales"))
    for group, found in groups.items():
        if group[1] in RANKS:
            own = found["first_order", 1.0]
            lines.append(line((name_of(group), len(own), f"{mean(own, average):.1f}", level(own))))
    return lines


def name_of(group: tuple[Any, ...]) -> str:
    """Return what a row is of."""
    task, tuner, optimizer, rate, steps = group
    return f"{task}, {tuner}, {optimizer} {rate:g}, {steps} steps"


def head(names: tuple[str, ...]) -> list[str]:
    """Return the first two lines of a table."""
    return [line(names), "|---" * len(names) + "|"]


def line(cells: Iterable[Any]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def complete(found: Group) -> dict[float, dict[Any, Run]]:
    """Return the runs of each fixed scale that has every seed of the learned ones."""
    seeds = found.get(("first_order", 1.0), {}).keys()
    return {s: runs for (way, s), runs in found.items() if way == "fixed" and seeds <= runs.keys()}


def best_fixed(found: Group) -> dict[Any, Run]:
    """Return the runs of the fixed scale with the highest average; none were run: none."""
    fixed = complete(found).values()
    return max(fixed, key=lambda by_seed: mean(by_seed, average), default={})


def cost(own: dict[Any, Run], fixed: Collection[dict[Any, Run]]) -> str:
    """Return CPU seconds of the training loop relative to the mean of the fixed scales' runs."""
    spent = [statistics.mean(runs[seed]["seconds"] for runs in fixed) for seed in own]
    return f"{sum(run['seconds'] for run in own.values()) / sum(spent):.2f}"


def write(text: str) -> None:
    """Put the tables between the markers of metapeft.md."""
    page = Path(__file__).with_name("metapeft.md")
    before, rest = page.read_text(encoding="utf-8").split(f"{BEGIN}\n")
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def curve(runs: list[Run]) -> Path:
    """Draw average against tail of every way to set scales, where most of them were run."""
    from matplotlib.figure import Figure

    found: Group = defaultdict(dict)
    for run in runs:
        if key_of(run)[:5] == ("landsat", "lora", "adamw", 0.01, LONG):
            found[run["variant"], run["start"]][run["seed"]] = run
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    fixed = sorted(start for way, start in found if way == "fixed")
    places = [[mean(found["fixed", s], score) for score in (average, tail)] for s in fixed]
    axes.plot(*zip(*places, strict=True), "o-", color="0.6")
    labels = {f"fixed {s:g}": place for s, place in zip(fixed, places, strict=True)}
    labels |= {
        name.replace("first_order", "learned"): [mean(own, average), mean(own, tail)]
        for (name, _), own in found.items() if name != "fixed"
    }  # fmt: skip
    for name, place in labels.items():
        if name.startswith("fixed "):
            side: dict[str, Any] = {"xytext": (6, -9)}
        else:
            axes.plot(*place, "o", color="#2b6fb3")
            side = {"xytext": (-6, 3), "ha": "right"}
        axes.annotate(name, place, **side, textcoords="offset points", fontsize=8)
    axes.set_xlim(50, 61)
    axes.set_ylim(30, 57)
    axes.set_xlabel("average of the classes, points")
    axes.set_ylabel("rarest third, points")
    path = Path(__file__).parents[1] / "docs" / "images" / "tail.png"
    figure.savefig(path, dpi=110)
    return path


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
    if words and words[0] in ("--table", "--write", "--curve"):
        runs = [run for word in words[1:] for run in read(Path(word))]
        if words[0] == "--curve":
            print(curve(runs))
        else:
            (write if words[0] == "--write" else print)(tables(runs))
        return
    options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if not words:
        sys.exit(__doc__)
    run_all(Path(words[0]), options)


if __name__ == "__main__":
    main()
