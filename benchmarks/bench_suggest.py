"""Do suggested places teach more than others? Labels are added in three ways, and compared.

    python benchmarks/bench_suggest.py [PLACES] [SEEDS]

On synthetic scenes and real ones with dense labels (../shared/data): a random forest on single
pixels is trained on the pixels of a few patches, maps the scene, and gets the labels of PLACES more
patches: those that ``rsmeta suggest`` picks, the most uncertain ones, and random ones. Scores are
macro F1 on all labelled pixels outside the patches of all three ways; differences are paired.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score

from rsmeta.gis.quantity_map import open_quantity_map
from rsmeta.gis.suggesting import Patches, differing, most_uncertain
from rsmeta.sample_data import make_landscape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
#: Side of a patch, and patches that are labelled to begin with.
SIZE_PX, BEGIN = 8, 12
WAYS = ("suggested", "most uncertain", "random")


def tasks(folder: Path, seeds: int) -> Iterator[tuple[str, NDArray, NDArray]]:
    """Yield names, bands (C, H, W) and labels (H, W), 0 where there is none, of scenes."""
    for seed in range(seeds):
        data = make_landscape(folder / str(seed), seed=100 + seed, sensor="landsat8")
        yield "landscape", read(data.scenes[0]), read(data.labels[0])[0]
    pines = SHARED / "indian_pines"
    yield "Indian Pines", read(pines / "scene.tif"), read(pines / "labels.tif")[0]
    for name in ("sentinel2", "landsat5", "landsat7"):
        labels = read(SHARED / f"cloudmask/{name}_mask.tif")[0] + 1
        yield f"cloudmask {name}", read(SHARED / f"cloudmask/{name}.tif"), labels


def read(path: Path) -> NDArray:
    """Return all bands of a raster."""
    with rasterio.open(path) as file:
        return np.asarray(file.read())


def patch(row: int, col: int) -> tuple[slice, slice]:
    """Return the pixels of a patch."""
    return slice(row, row + SIZE_PX), slice(col, col + SIZE_PX)


def fit(bands: NDArray, labels: NDArray, known: NDArray, seed: int) -> RandomForestClassifier:
    """Train a forest on the pixels that are known."""
    forest = RandomForestClassifier(50, random_state=seed, min_samples_leaf=2)
    return forest.fit(bands[:, known].T, labels[known])


def confidence(forest: RandomForestClassifier, bands: NDArray, path: Path) -> Path:
    """Map a scene, and write how sure the forest is of each pixel."""
    sure = forest.predict_proba(bands.reshape(len(bands), -1).T).max(axis=1)
    sure = sure.reshape(bands.shape[1:]).astype(np.float32)
    profile = {"driver": "GTiff", "height": sure.shape[0], "width": sure.shape[1], "count": 1,
               "dtype": "float32", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5.2e6),
               "crs": "EPSG:32633"}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(sure, 1)
        file.set_band_description(1, "confidence")
    return path


def features(bands: NDArray, patches: Patches) -> NDArray:
    """Return mean and standard deviation of each band, as ``rsmeta suggest`` computes them."""
    found = [
        bands[:, *patch(row, col)].reshape(len(bands), -1)
        for row, col in zip(patches.rows, patches.cols, strict=True)
    ]
    return np.array([np.concatenate([one.mean(axis=1), one.std(axis=1)]) for one in found])


def compare(bands: NDArray, labels: NDArray, count: int, seed: int, folder: Path) -> list[float]:
    """Return macro F1 before, and after labels were added in each way."""
    rng = np.random.default_rng(seed)
    height, width = labels.shape
    whole = [(row, col) for row in range(0, height - SIZE_PX + 1, SIZE_PX)
             for col in range(0, width - SIZE_PX + 1, SIZE_PX)]  # fmt: skip
    whole = [one for one in whole if (labels[patch(*one)] > 0).mean() >= 0.5]
    order = [whole[i] for i in rng.permutation(len(whole))]
    known = np.zeros(labels.shape, dtype=bool)
    for one in order[:BEGIN]:
        known[patch(*one)] = True
    begun = fit(bands, labels, known & (labels > 0), seed)
    sure = open_quantity_map(confidence(begun, bands, folder / f"sure{seed}.tif"))
    usable = set(order[BEGIN:])
    found = most_uncertain(sure, count, size_px=SIZE_PX)
    places = list(zip(found.rows.tolist(), found.cols.tolist(), strict=True))
    found = found.take(np.array([i for i, one in enumerate(places) if one in usable], dtype=int))
    suggested = differing(found, features(bands, found), count)
    top = found.take(np.arange(min(count, len(found))))
    picked = [
        list(zip(one.rows.tolist(), one.cols.tolist(), strict=True)) for one in (suggested, top)
    ]
    picked.append(order[BEGIN : BEGIN + len(suggested)])
    more = [known.copy() for _ in WAYS]
    for mask, chosen in zip(more, picked, strict=True):
        for one in chosen:
            mask[patch(*one)] = True
    scored = ~np.logical_or.reduce(more) & (labels > 0)
    forests = [begun, *(fit(bands, labels, mask & (labels > 0), seed) for mask in more)]
    return [
        100 * f1_score(labels[scored], forest.predict(bands[:, scored].T), average="macro",
                       labels=np.unique(labels[scored]), zero_division=0)
        for forest in forests
    ]  # fmt: skip


def line(name: str, rows: list[list[float]]) -> str:
    """Return a line of the table: means, and paired differences with their standard errors."""
    table = np.array(rows)
    gains = [table[:, 1] - table[:, 3], table[:, 1] - table[:, 2]]
    shown = [f"{value:.1f}" for value in table.mean(axis=0)]
    shown += [f"{one.mean():+.1f} ± {one.std(ddof=1) / len(one) ** 0.5:.1f}" for one in gains]
    return f"| {name} | " + " | ".join(shown) + " |"


def main() -> None:
    """Compare on every task, and print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    print("| task | before | " + " | ".join(WAYS) + " | suggested - random | - most uncertain |")
    print("|" + "---|" * 7, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        landscapes = []
        for number, (name, bands, labels) in enumerate(tasks(Path(folder), seeds)):
            is_landscape = name == "landscape"
            rows = [
                compare(bands.astype(np.float32), labels, count, seed, Path(folder))
                for seed in ([number] if is_landscape else range(seeds))
            ]
            landscapes += rows if is_landscape else []
            if not is_landscape:
                print(line(name, rows), flush=True)
            elif len(landscapes) == seeds:
                print(line(f"{seeds} landscapes", landscapes), flush=True)


if __name__ == "__main__":
    main()
