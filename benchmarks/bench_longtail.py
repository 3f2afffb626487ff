"""Few labels, many classes: every loss with fixed and with learned scales, on chips of real scenes.

Chips of 32 px, four fifths of one class: trained on Landsat 5 and Sentinel-2, tested on Landsat 7.
Water is left out: no two sensors have such a chip of it, so that it cannot be trained and tested.
Results are kept line by line, as in ``bench_metapeft.py``:

    python benchmarks/bench_longtail.py RESULTS.jsonl DATA_FOLDER [SEEDS] [STEPS]
    python benchmarks/bench_longtail.py --table RESULTS.jsonl ...
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench_metapeft import Run, average, read, spread
from quick_run import quick_run
from transfer import ROOT, Task, machine

if TYPE_CHECKING:
    from collections.abc import Callable

LOSSES = (
    "ce", "focal", "reweighted", "class_balanced", "balanced_softmax", "logit_adjusted", "lade",
    "ldam",
)  # fmt: skip
SCALES = {
    "fixed": "meta=fixed",
    "MetaPEFT": "meta={preset: first_order, every_n_steps: 5, lr: 0.1}",
}
TAIL = "shadow"

#: On top of ``configs/experiments/cloudmask_chips.yaml``.
SET = (
    "data.scenes=[landsat5.tif, sentinel2.tif]", "data.test_scenes=[landsat7.tif]",
    "data.classes={0: shadow, 3: land, 4: cloud}", "data.ignore=1", "data.stride_px=16",
    "data.augment={gain: 0.3, band_gain: 0.3}", "data.batch_size=8",
    "model={preset: satmae_nano, head: {name: cosine}}", "tuner=lora", "trainer.optimizer.lr=0.003",
)  # fmt: skip


def run_all(results: Path, data: Path, seeds: int, steps: int) -> None:
    """Run what is missing in the file, and append it there as it comes."""
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    done = {(run["seed"], run["loss"], run["way"]) for run in read(results)}
    config = ROOT / "configs" / "experiments" / "cloudmask_chips.yaml"
    task = Task(config, (f"data.root={data / 'cloudmask'}", *SET))
    keys = [(seed, loss, way) for seed in range(seeds) for loss in LOSSES for way in SCALES]
    with results.open("a", encoding="utf-8") as file:
        for seed, loss, way in keys:
            if (seed, loss, way) in done:
                continue
            found = quick_run(task, seed, steps, f"loss={loss}", SCALES[way])
            line = {"seed": seed, "loss": loss, "way": way, "steps": steps}
            file.write(json.dumps({**line, "machine": machine(), **found}) + "\n")
            file.flush()
            print(*line.values(), f"{found['accuracy']:.3f}", f"{found['seconds']} s", flush=True)


def tail(run: Run) -> float:
    """Return the accuracy (recall) of the rare class."""
    return float(run["classes"][TAIL]["recall"])


def tail_f1(run: Run) -> float:
    """Return the F1 of the rare class."""
    return float(run["classes"][TAIL]["f1"])


def overall(run: Run) -> float:
    """Return the share of all images that are right."""
    return float(run["accuracy"])


SCORES: dict[str, Callable[[Run], float]] = {
    "accuracy": overall, "average": average, "tail": tail, "tail F1": tail_f1,
}  # fmt: skip


def print_table(runs: list[Run]) -> None:
    """Print a row for each loss and way of having scales, then what the scales change in all."""
    runs = list({(run["seed"], run["loss"], run["way"]): run for run in runs}.values())
    counts = ", ".join(f"{name} {count}" for name, count in runs[0]["counts"].items())
    print(f"{runs[0]['machine']}; {runs[0]['steps']} steps of 8 chips; trained on {counts}; learns "
          f"{runs[0]['learned']:,}\n")  # fmt: skip
    print(f"| loss | scales | seeds | {' | '.join(SCORES)} | CPU seconds |")
    print("|---" * (len(SCORES) + 4) + "|")
    for loss in LOSSES:
        for way in SCALES:
            own = [run for run in runs if (run["loss"], run["way"]) == (loss, way)]
            if own:
                scores = [[100 * score(run) for run in own] for score in SCORES.values()]
                cells = " | ".join(
                    f"{statistics.mean(one):.1f} ± {statistics.pstdev(one):.1f}" for one in scores
                )
                seconds = statistics.mean(run["seconds"] for run in own)
                print(f"| `{loss}` | {way} | {len(own)} | {cells} | {seconds:.1f} |")
    by_key = {(run["seed"], run["loss"], run["way"]): run for run in runs}
    pairs = [
        (by_key[seed, loss, "MetaPEFT"], run)
        for (seed, loss, way), run in by_key.items()
        if way == "fixed" and (seed, loss, "MetaPEFT") in by_key
    ]
    told = [
        f"{name} {spread([100 * (score(a) - score(b)) for a, b in pairs])}"
        for name, score in SCORES.items()
    ]
    print(f"\nMetaPEFT - fixed, over {len(pairs)} pairs of equal loss and seed: {', '.join(told)}")


def main() -> None:
    """Run, or print the table of what was run."""
    words = sys.argv[1:]
    if words[:1] == ["--table"]:
        print_table([run for word in words[1:] for run in read(Path(word))])
        return
    if len(words) < 2:
        sys.exit(__doc__)
    seeds, steps = (int(words[i]) if len(words) > i else given for i, given in ((2, 3), (3, 120)))
    run_all(Path(words[0]), Path(words[1]), seeds, steps)


if __name__ == "__main__":
    main()
