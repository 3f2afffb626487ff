"""What larger tiles, and bfloat16, do to a trained model's maps: accuracy and time.

    rsmeta demo --output demo_output
    python benchmarks/bench_tiles.py demo_output/run/bundle [LANDSCAPES]
    python benchmarks/bench_tiles.py speed

The model maps the east of landscapes that it has not seen, once in each way, which share scenes:
differences of scores are means over the landscapes, with their standard error. ``speed`` times bare
networks with random weights: milliseconds of CPU per 1000 pixels of the map, which tiles with an
overlap of 32 pixels leave.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import bench_predict
import numpy as np
import rasterio
import torch
from bench_predict import OVERLAP_PX, bare_seconds, make_bundle

import rsmeta
from rsmeta.sample_data import make_landscape

WAYS = {
    "as trained": {},
    "twice the side": {"tile_px": 2},
    "four times": {"tile_px": 4},
    "bfloat16": {"precision": "bfloat16"},
}
NETWORKS = ("vit_small_patch16_224", "swin_tiny_patch4_window7_224")
SIDES_PX = (224, 448, 672)


def accuracy(bundle: rsmeta.ModelBundle, seed: int) -> dict[str, dict[str, float]]:
    """Return scores of each way on one landscape: accuracy, macro F1, seconds of CPU, changes."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_landscape(folder / "data", seed=seed, sensor="landsat8")
        exact = None
        for way, given in WAYS.items():
            settings = dict(given)
            if "tile_px" in settings:
                settings["tile_px"] *= bundle.record.tile_px
            started = time.process_time()
            rsmeta.predict(
                made.scenes[1], bundle, settings=settings, if_exists="overwrite",
                output=rsmeta.Products(folder / "map.tif", probabilities=folder / "shares.tif"),
            )  # fmt: skip
            seconds = time.process_time() - started
            with rasterio.open(folder / "shares.tif") as file:
                shares = file.read()
            exact = shares if exact is None else exact
            scores = rsmeta.evaluate_map(folder / "map.tif", made.labels[1], ignore=[0]).as_dict()
            known = ~np.isnan(shares[0])
            found[way] = {
                "accuracy": 100 * scores["accuracy"],
                "macro F1": 100 * scores["macro_f1"],
                "CPU s": seconds,
                "largest difference": float(np.nanmax(np.abs(shares - exact))),
                "% changed": 100 * float((shares.argmax(0) != exact.argmax(0))[known].mean()),
            }
    return found


def table(rows: list[dict[str, dict[str, float]]]) -> None:
    """Print a row per way; scores as differences from the first, paired by landscape."""
    first = next(iter(WAYS))
    for way in WAYS:
        cells = []
        for score in rows[0][way]:
            own = [row[way][score] for row in rows]
            if way != first and score in ("accuracy", "macro F1"):
                own = [row[way][score] - row[first][score] for row in rows]
            error = statistics.stdev(own) / len(own) ** 0.5
            cells.append(f"{score} {statistics.mean(own):+.4g} ± {error:.2g}")
        print(f"{way}: {', '.join(cells)}")


def speed(rounds: int = 5) -> None:
    """Print what 1000 pixels of a map cost with tiles of several sides."""
    for backbone in NETWORKS:
        taken: dict[int, list[float]] = {side: [] for side in SIDES_PX}
        network = make_bundle(backbone, 1).network
        for turn in range(rounds + 1):
            for side in SIDES_PX:
                bench_predict.TILE_PX = side
                _, seconds = bare_seconds(network, 1, 1, "cpu")
                if turn:
                    taken[side].append(1e6 * seconds / (side - OVERLAP_PX) ** 2)
        usual = taken[SIDES_PX[0]]
        for side, times in taken.items():
            ratios = [old / new for old, new in zip(usual, times, strict=True)]
            print(
                f"{backbone}, {side} px: {statistics.median(times):.2f} ms per 1000 px, "
                f"{statistics.median(ratios):.2f} times as fast"
            )


def main() -> None:
    """Run what is asked for."""
    torch.set_num_threads(1)
    what, *given = sys.argv[1:]
    if what == "speed":
        speed()
        return
    bundle = rsmeta.load_bundle(what)
    count = int(given[0]) if given else 8
    rows = []
    for seed in range(1, count + 1):
        rows.append(accuracy(bundle, seed))
        print(seed, rows[-1], flush=True)
    table(rows)


if __name__ == "__main__":
    main()
