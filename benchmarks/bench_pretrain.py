"""What the shipped nano backbone's weights buy on real scenes, against random weights.

``python benchmarks/bench_pretrain.py [DATA_FOLDER] [SEEDS] [frozen|lora] [WEIGHTS ...]`` prints two
tables, or one of them; none of the scenes was seen in pretraining. SEEDS is their number, or
``4-8`` for the second four. Further weights files of the nano backbone are further rows of the
first table.

Frozen: logistic regression on the bands and the features of four blocks of 25 labelled pixels of
each class, which is what ``model.head: logistic`` does; its strength is chosen by two grouped
folds. Groups are blocks of 64 x 64 pixels (cloudmask) or polygons (slovenia); half of them train,
the other half tests, and the other way round. Each seed draws other halves, other pixels and other
random weights; all rows of a table have the same ones.

LoRA: adapters of rank 8 and a linear head, 60 steps of 16 chips; cloudmask is trained on Landsat
5 and 7 and tested on Sentinel-2, slovenia is tested on two fifths of its polygons.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import rasterio
import torch
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from transfer import COMMON, ROOT, machine, train_and_test

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import select_bands
from rsmeta.geo.scene import open_scene
from rsmeta.models.build import build_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rsmeta.geo.scene import Scene

    #: Returns the features (F, h, w) of each pixel of a place; a seed draws what is random.
    Features = Callable[["Place", int], NDArray[np.float32]]

#: Bands that the nano backbone knows.
TEN = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

PER_CLASS, TESTED = 25, 5000
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
TILE_PX, MARGIN_PX = 64, 8


@dataclass(frozen=True)
class Place:
    """A scene with labels (h, w), -1 where unlabelled, and the group of each pixel (h, w).

    They are of every ``every``-th row and column of the scene.
    """

    name: str
    task: str
    scene: Scene
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    every: int = 1

    def thinned(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the rows and columns of an image (..., H, W) that labels are of."""
        return image[..., :: self.every, :: self.every]


def places(data: Path) -> list[Place]:
    """Open the scenes of both tasks."""
    found = []
    for stem in ("landsat5", "landsat7", "sentinel2"):
        labels = _read(data / "cloudmask" / f"{stem}_mask.tif")
        row, col = np.indices(labels.shape) // 64
        scene = open_scene(data / "cloudmask" / f"{stem}.tif")
        groups = (row * 100 + col)[::2, ::2]
        found.append(Place(stem, "cloudmask", scene, labels[::2, ::2], groups, every=2))
    folder = data / "slovenia_s2"
    labels = _read(folder / "landcover.tif")
    labels[np.isin(labels, (0, 1))] = -1  # 11 pixels of class 1 cannot be tested
    polygons = geopandas.read_file(folder / "landcover.gpkg")
    for date in range(5):
        scene = open_scene(folder / f"scene_{date}.tif")
        shapes = polygons.to_crs(scene.grid.crs).geometry
        groups = rasterize(
            [(shape, i + 1) for i, shape in enumerate(shapes)],
            out_shape=labels.shape, transform=scene.grid.transform,
        ).astype(int)  # fmt: skip
        own = scene.select(select_bands(TEN, scene.bands, scene.name))
        found.append(Place(f"date {date}", "slovenia", own, np.where(groups, labels, -1), groups))
    return found


def _read(path: Path) -> NDArray[np.int64]:
    with rasterio.open(path) as file:
        return file.read(1).astype(np.int64)


# -- features of every pixel ---------------------------------------------------------------------


def bands(place: Place, seed: int) -> NDArray[np.float32]:
    """Return the bands alone, (F, h, w)."""
    return place.thinned(_image(place))


def _image(place: Place) -> NDArray[np.float32]:
    return place.scene.read(place.scene.grid.full_window).data


def context(place: Place, seed: int) -> NDArray[np.float32]:
    """Return the bands, and their means and deviations in windows of 3, 7 and 15 pixels."""
    image = _image(place).astype(np.float64)
    found = [image]
    for side in (3, 7, 15):
        mean = np.stack([uniform_filter(band, side) for band in image])
        square = np.stack([uniform_filter(band**2, side) for band in image])
        found += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    return place.thinned(np.concatenate(found)).astype(np.float32)


def features(**model: Any) -> Features:
    """Return what gives the features of a backbone beside the bands."""

    def of(place: Place, seed: int) -> NDArray[np.float32]:
        scene, image = place.scene, _image(place)
        torch.manual_seed(seed)
        network = build_network(
            ModelSpec(head={"name": "logistic"}, **model), TunerSpec(method="head"),
            bands=scene.bands, classes=2, mean=image.mean(axis=(1, 2)),
            std=image.std(axis=(1, 2)),
        ).eval()  # fmt: skip
        made = np.empty((network.head.dim, *place.labels.shape), np.float32)
        step, every = TILE_PX - 2 * MARGIN_PX, place.every
        for row in range(0, scene.grid.height_px, step):
            for col in range(0, scene.grid.width_px, step):
                chip = scene.read(Window(col - MARGIN_PX, row - MARGIN_PX, TILE_PX, TILE_PX))
                given = torch.from_numpy(chip.data)[None], torch.from_numpy(chip.valid)[None]
                with torch.inference_mode():
                    tile = network.pixel_features(*given)[0].numpy()
                core = tile[:, MARGIN_PX : MARGIN_PX + step, MARGIN_PX : MARGIN_PX + step]
                up, left = row // every, col // every
                part = made[:, up : up + step // every, left : left + step // every]
                part[:] = place.thinned(core)[:, : part.shape[1], : part.shape[2]]
        return made

    return of


#: Rows of the first table. Random weights of the shipped architecture: other weights of the same
#: number, patch and groups; those of the earlier one had a patch of 8 and three groups.
NANO = "satmae_vit_nano_group"
ARCHITECTURE = {"patch_size": 4, "groups": [list(TEN)]}
FOREST = "no backbone: forest on the bands"
ROWS = {
    "nano, pretrained": features(backbone=NANO, pretrained=True),
    "nano, random weights": features(backbone=NANO, options=ARCHITECTURE),
    "no backbone: bands": bands,
    "no backbone: bands, local means and deviations": context,
    FOREST: bands,
}


# -- grouped halves ------------------------------------------------------------------------------


def score(place: Place, found: NDArray[np.float32], seed: int, *, forest: bool = False) -> float:
    """Return the macro F1 on whole groups that were held out, the mean of both halves."""
    rng = np.random.default_rng([seed, 2026])
    labels, groups = place.labels.ravel(), place.groups.ravel()
    known = np.flatnonzero(labels >= 0)
    half = _halves(labels[known], groups[known], rng)
    x = found.reshape(len(found), -1).T
    scores = []
    for trained in (0, 1):
        inside, outside = known[half == trained], known[half != trained]
        train = np.concatenate(
            [rng.permutation(inside[labels[inside] == k])[:PER_CLASS]
             for k in np.unique(labels[inside])]
        )  # fmt: skip
        test = rng.permutation(outside)[:TESTED]
        mean, std = x[train].mean(axis=0), x[train].std(axis=0) + 1e-6
        given = (x[train] - mean) / std, labels[train]
        probe = _forest(*given, seed) if forest else _fit(*given, groups[train])
        told = probe.predict((x[test] - mean) / std)
        present = np.unique(labels[test])
        scores.append(f1_score(labels[test], told, labels=present, average="macro"))
    return float(np.mean(scores))


def _halves(
    labels: NDArray[np.int64], groups: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return 0 or 1 per pixel: groups stay whole, and those of each class are shared evenly."""
    names = np.unique(groups)
    main = np.array([np.bincount(labels[groups == name]).argmax() for name in names])
    halves = np.zeros(len(names), int)
    for k in np.unique(main):
        own = rng.permutation(np.flatnonzero(main == k))
        halves[own] = (np.arange(len(own)) + rng.integers(2)) % 2
    return halves[np.searchsorted(names, groups)]


def _fit(
    x: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> LogisticRegression:
    """Fit with the strength that two grouped folds of the training pixels prefer."""
    half = _halves(labels, groups, np.random.default_rng(0))
    parts = [(half == i, half != i) for i in (0, 1)]
    parts = [(a, b) for a, b in parts if b.any() and len(np.unique(labels[a])) > 1]
    scores = [
        sum(
            f1_score(labels[b], _probe(x[a], labels[a], c).predict(x[b]), average="macro")
            for a, b in parts
        )
        for c in STRENGTHS
    ]
    return _probe(x, labels, STRENGTHS[int(np.argmax(scores))])


def _probe(
    x: NDArray[np.float32], labels: NDArray[np.int64], strength: float
) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe = LogisticRegression(C=strength, max_iter=100, class_weight="balanced")
        return probe.fit(x, labels)


def _forest(x: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(300, class_weight="balanced", random_state=seed).fit(x, labels)


# -- LoRA ----------------------------------------------------------------------------------------


def lora(data: Path, task: str, seed: int, *overrides: str) -> float:
    """Return the macro F1 of the test part after a short training of adapters and head."""
    common = (*COMMON, "model=satmae_nano", "tuner=lora", "model.head={name: linear}",
              "loss=logit_adjusted", "data.chip_px=32", "data.batch_size=16",
              "trainer.max_steps=60", "trainer.baseline=false", "trainer.optimizer.lr=0.003",
              f"seed={seed}")  # fmt: skip
    given = {
        "cloudmask": (f"data.root={data / 'cloudmask'}",),
        "slovenia": (
            f"data.root={data / 'slovenia_s2'}", f"data.use_bands=[{', '.join(TEN)}]",
            "data.labels=landcover.gpkg", "data.class_column=LULC_ID", "data.ignore=[0, 1]",
            "data.classes={2: forest, 3: grassland, 4: shrubland, 8: artificial}",
            "data.split={by: polygons, validation: 0, test: 0.4}",
        ),
    }  # fmt: skip
    config = ROOT / "configs" / "experiments" / f"{task}.yaml"
    return float(train_and_test(config, (*given[task], *common, *overrides))["test"]["macro_f1"])


# -- tables --------------------------------------------------------------------------------------


def cell(values: list[float]) -> str:
    """Return mean ± standard error."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def table(label: str, rows: dict[str, dict[str, list[float]]]) -> None:
    """Print a row per kind of weights, and what the first is ahead of the second, paired."""
    tasks = list(next(iter(rows.values())))
    print(f"\n| {label} | {' | '.join(tasks)} |\n|---|{'---|' * len(tasks)}")
    for name, by_task in rows.items():
        print(f"| {name} | {' | '.join(cell(by_task[task]) for task in tasks)} |")
    first, second = list(rows.values())[:2]
    ahead = [cell(list(np.subtract(first[task], second[task]))) for task in tasks]
    print(f"| pretrained less random, paired | {' | '.join(ahead)} |", flush=True)


def main() -> None:
    """Print both tables."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    seeds = range(*(int(word) for word in (sys.argv[2] if len(sys.argv) > 2 else "8").split("-")))
    if not (data / "cloudmask").is_dir():
        print(f"no data in {data}; nothing to run")
        return
    print(machine())
    which = sys.argv[3] if len(sys.argv) > 3 else ""
    others = {Path(file).stem: features(backbone=NANO, checkpoint=file) for file in sys.argv[4:]}
    if which != "lora":
        table("frozen, macro F1", frozen_scores(data, seeds, ROWS | others))
    if which != "frozen":
        table("LoRA, macro F1", lora_scores(data, seeds))


def frozen_scores(
    data: Path, seeds: range, kinds: dict[str, Features]
) -> dict[str, dict[str, list[float]]]:
    """Return the scores of each row and task, one per seed: the mean over the task's scenes."""
    rows = {}
    for name, of in kinds.items():
        by_task: dict[str, list[list[float]]] = {"cloudmask": [], "slovenia": []}
        for place in places(data):
            kept = None if "random" in name else of(place, 0)
            row = [
                score(place, of(place, s) if kept is None else kept, s, forest=name == FOREST)
                for s in seeds
            ]
            print(f"{name}, {place.name}: {cell(row)}", file=sys.stderr, flush=True)
            by_task[place.task].append(row)
        rows[name] = {task: list(np.mean(found, axis=0)) for task, found in by_task.items()}
    return rows


def lora_scores(data: Path, seeds: range) -> dict[str, dict[str, list[float]]]:
    """Return the scores of pretrained and random weights and each task, one per seed."""
    groups = f"[[{', '.join(TEN)}]]"
    random = ("model.pretrained=false", f"model.options={{patch_size: 4, groups: {groups}}}")
    rows: dict[str, dict[str, list[float]]] = {}
    for name, overrides in (("nano, pretrained", ()), ("nano, random weights", random)):
        rows[name] = {}
        for task in ("cloudmask", "slovenia"):
            rows[name][task] = [lora(data, task, seed, *overrides) for seed in seeds]
            print(f"{name}, LoRA, {task}: {cell(rows[name][task])}", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()
