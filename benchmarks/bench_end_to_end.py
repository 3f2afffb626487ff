"""Indian Pines from labels to map and report: a natural-image ViT, DOFA (random) and pixels.

    python benchmarks/bench_end_to_end.py ../shared FOLDER [MODELS]

Runs ``rsmeta train``, ``predict`` and ``report``; FOLDER keeps each run, map and report, MODELS are
names below, divided by semicolons. Blocks of 32 pixels are held out: whole fields are in
``bench_many_bands.py``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import rasterio
from bench_many_bands import SKIP_NM, dofa, vit

import rsmeta

CLASSES = (
    "alfalfa", "corn-notill", "corn-mintill", "corn", "grass-pasture", "grass-trees", "mowed",
    "hay", "oats", "soybean-notill", "soybean-mintill", "soybean-clean", "wheat", "woods",
    "buildings", "towers",
)  # fmt: skip


def models(shared: str) -> dict[str, dict[str, Any]]:
    """Return the sections that differ."""
    beside = {"name": "logistic", "depths": [5]}
    return {
        "pixels, forest": {"model": {"backbone": "pixels", "head": "forest"}},
        "pixels, logistic": {"model": {"backbone": "pixels", "head": "logistic"}},
        "ViT-S, groups, bands beside": {"model": vit(shared, beside, reduce="groups")},
        "DOFA, random weights, lora": {
            "model": dofa("linear"), "tuner": "lora", "trainer": {"max_epochs": 2},
        },
    }  # fmt: skip


def settings(shared: Path, model: dict[str, Any]) -> dict[str, Any]:
    """Return a whole configuration."""
    folder = shared / "data" / "indian_pines"
    data = {
        "scenes": [str(folder / "scene.tif")], "labels": str(folder / "labels.tif"), "ignore": [0],
        "classes": dict(enumerate(CLASSES, start=1)), "skip_nm": [list(one) for one in SKIP_NM],
        "chip_px": 32,
    }  # fmt: skip
    trainer = {"baseline": False, **model.get("trainer", {})}
    return {"data": data, **model, "trainer": trainer}


def main() -> None:
    """Run what is asked for, and print a row for each."""
    shared, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    wanted = models(str(shared))
    logging.getLogger("rsmeta").setLevel(logging.ERROR)
    print("| model | validation accuracy | macro F1 | CPU s: train | map | report | mapped |")
    print("|---|---|---|---|---|---|---|")
    for name in sys.argv[3].split(";") if len(sys.argv) > 3 else wanted:
        folder = out / name.replace(", ", "_").replace(" ", "_")
        given = settings(shared, wanted[name])
        at = [time.process_time()]
        metrics = rsmeta.train(given, output=folder / "run").metrics
        at.append(time.process_time())
        rsmeta.predict(given["data"]["scenes"][0], folder / "run", output=folder / "map.tif")
        at.append(time.process_time())
        rsmeta.report(folder / "run", folder / "map.tif", output=folder / "report.html")
        at.append(time.process_time())
        with rasterio.open(folder / "map.tif") as file:
            mapped = (file.read_masks(1) > 0).mean()
        seconds = [f"{after - before:.1f}" for before, after in pairwise(at)]
        found = metrics["validation"]
        scores = [f"{found[key]:.3f}" for key in ("accuracy", "macro_f1")]
        print(f"| {' | '.join([name, *scores, *seconds])} | {mapped:.0%} |", flush=True)
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
