"""Radar: whether filtered speckle, linear values or the ratio of polarisations help.

    python benchmarks/bench_radar.py DATA_FOLDER RESULTS.jsonl [METHODS] [FORMS] [FOLDS]

The scene is the generator's Sentinel-1 (4.4 looks, decibels), the task that of
``few_labels_tasks.py``: 20 squares of seven classes, tested on other blocks, 5 x 2 folds. METHODS
are those of ``bench_few_labels.py``, FORMS those below; names are divided by semicolons. Resumes,
and prints the table.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from bench_few_labels import WORK, read, run_one
from few_labels_tasks import FOLDS, REPEATS, Task, tasks

from rsmeta.config.radar import SpeckleSettings
from rsmeta.geo.speckle import filter_speckle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TASK = "landscape sentinel1 20"


def filtered(decibels: np.ndarray, **how: Any) -> np.ndarray:
    """Return bands (C, H, W) as ``data.speckle`` makes them."""
    changed = decibels.copy()
    for band in changed:
        filter_speckle(band, np.isfinite(band), SpeckleSettings(**how))
    return changed


#: What becomes of bands in decibels, (C, H, W), before they are written.
FORMS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "decibels": lambda bands: bands,
    "linear": lambda bands: 10 ** (bands / 10),
    "boxcar 3": lambda bands: filtered(bands, filter="boxcar", side_px=3),
    "Lee 7": filtered,
    "decibels, ratio": lambda bands: np.concatenate([bands, bands[:1] - bands[1:]]),
}


def in_form(task: Task, name: str) -> Task:
    """Return the task on a scene in one of the forms."""
    target = WORK / f"radar_{name.replace(', ', '_').replace(' ', '_')}.tif"
    with rasterio.open(task.scene) as source:
        profile, names, bands = source.profile, source.descriptions, source.read()
    changed = FORMS[name](bands.astype(np.float32))
    with rasterio.open(target, "w", **{**profile, "count": len(changed)}) as file:
        file.write(changed)
        file.descriptions = (*names, "VV/VH")[: len(changed)]
    return replace(task, scene=target)


def table(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print macro-F1 by method and form, and the paired difference from decibels."""
    runs = {(o["method"], o["form"], o["fold"]): 100 * o["macro_f1"] for o in lines}
    for method in dict.fromkeys(line["method"] for line in lines):
        for form in FORMS:
            own = {k: f1 for (m, f, k), f1 in runs.items() if (m, f) == (method, form)}
            base = {k: runs.get((method, "decibels", k)) for k in own}
            apart = [own[k] - one for k, one in base.items() if one is not None]
            if own:
                shown = (_mean([*own.values()]), _mean(apart), f"{len(apart)}")
                print(f"| {method} | {form} | {' | '.join(shown)} |")


def _mean(values: Sequence[float]) -> str:
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.mean(values):.1f} ± {error:.1f}" if values else ""


def main() -> None:
    """Run what is missing, and print the table."""
    data, results = Path(sys.argv[1]), Path(sys.argv[2])
    usual = ["random forest;auto", ";".join(FORMS), str(FOLDS * REPEATS)]
    methods, forms, count = (*sys.argv[3:], *usual[len(sys.argv) - 3 :])
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    task = tasks(data, WORK)[TASK]()
    made = {form: in_form(task, form) for form in forms.split(";")}
    done = {(line["method"], line["form"], line["fold"]) for line in read(results)}
    for number in range(int(count)):
        for key in [(m, f, number) for m in methods.split(";") for f in made]:
            if key not in done:
                line = dict(zip(("method", "form", "fold"), key, strict=True))
                line |= run_one(made[key[1]], number, key[0], data)
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    table([line for line in read(results) if "macro_f1" in line])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
