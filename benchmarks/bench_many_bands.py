"""Stems for 200 bands on Indian Pines: whole fields held out, ten folds, beside a random forest.

python benchmarks/bench_many_bands.py ../shared RESULTS.jsonl      # resumes; prints the table
python benchmarks/bench_many_bands.py ../shared --cost "ViT-S, match"
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from scipy import ndimage
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn import functional

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.bands import Band
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.geo.sensors import load_sensor
from rsmeta.models import build_network
from rsmeta.models.reduction import principal_components

FOLDS, SEED, CLASSES = 10, 0, 16
SKIP_NM = ((1340.0, 1460.0), (1790.0, 1960.0))
#: Training of the small network: steps, chips in each, side of a chip, learning rate.
STEPS, BATCH, CHIP_PX, RATE = 60, 8, 32, 1e-3
#: Labelled pixels of a field that heads are solved for.
SAMPLES = 40


def vit(shared: str, head: Any, **stem: Any) -> dict[str, Any]:
    """Return the frozen natural-image ViT-S, enlarged four times, features of block 5."""
    return {
        "backbone": "vit_small_patch14_dinov2",
        "checkpoint": f"{shared}/weights/dinov2_vits14_focus.fp16.safetensors",
        "options": {"img_size": 56, "depth": 6},
        "zoom": 4,
        "head": head,
        "stem": {"bands": ["red", "green", "blue"], **stem},
    }


def small(**stem: Any) -> dict[str, Any]:
    """Return a small ViT with random weights, all of it trained."""
    options = {"img_size": 32, "patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 4}
    return {"backbone": "vit_tiny_patch16_224", "options": options, "head": "linear", "stem": stem}


@cache
def random_dofa() -> Path:
    """Write a small DOFA of TorchGeo's with random weights, in the published form; return it."""
    from torchgeo.models.dofa import DOFA

    torch.manual_seed(SEED)
    net = DOFA(img_size=32, patch_size=4, embed_dim=192, depth=3, num_heads=3, num_classes=0)
    file = Path(tempfile.mkdtemp()) / "dofa.pth"
    torch.save({k: v for k, v in net.state_dict().items() if "fc_norm" not in k}, file)
    return file


def dofa(head: Any) -> dict[str, Any]:
    """Return a frozen DOFA with random weights: it shows that the mechanics work, no more."""
    options = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "depth": 3, "num_heads": 3}
    return {
        "backbone": "dofa_vit_b16", "checkpoint": str(random_dofa()), "options": options,
        "head": head,
    }  # fmt: skip


def models(shared: str) -> dict[str, dict[str, Any]]:
    """Return the models to compare, fixed before any test field was looked at."""
    logistic = {"name": "logistic", "strength": 0.01}
    alone = {**logistic, "depths": [5], "bands": False}
    beside = {**logistic, "depths": [5]}
    return {
        "pixels, forest": {"backbone": "pixels", "head": "forest"},
        "pixels, forest, Sentinel-2": {"backbone": "pixels", "head": "forest"},
        "pixels, forest, drone": {"backbone": "pixels", "head": "forest"},
        "pixels, logistic": {"backbone": "pixels", "head": logistic},
        "ViT-S, match": vit(shared, alone),
        "ViT-S, project": vit(shared, alone, strategy="project"),
        "ViT-S, groups": vit(shared, alone, reduce="groups"),
        "ViT-S, pca": vit(shared, alone, reduce="pca"),
        "small ViT, all bands": small(),
        "small ViT, groups": small(reduce="groups"),
        "small ViT, pca": small(reduce="pca"),
        "small ViT, learned": small(reduce="learned"),
        "ViT-S, match, bands beside": vit(shared, beside),
        "DOFA, random weights": dofa({**alone, "depths": [2]}),
    }


#: Bands of a usual camera of drones: centre and width in nm.
DRONE = ((560, 40), (650, 40), (730, 40), (840, 40))


def few(name: str) -> list[Band] | None:
    """Return the few bands that a model is for, made of the many; none: it takes all."""
    if name.endswith("drone"):
        return [Band(f"d{nm}", None, float(nm), width_nm=float(width)) for nm, width in DRONE]
    return list(load_sensor("sentinel2_l2a").bands) if name.endswith("Sentinel-2") else None


@cache
def data(shared: str, name: str = "") -> tuple[Any, torch.Tensor, np.ndarray, np.ndarray]:
    """Return bands, image (1, C, H, W), class of each pixel (-1: none), field of each pixel."""
    folder = Path(shared) / "data" / "indian_pines"
    scene = open_scene(folder / "scene.tif", ReadRules(skip_nm=SKIP_NM))
    if (bands := few(name)) is not None:
        scene = scene.select(bands)
    with rasterio.open(folder / "labels.tif") as file:
        labels = file.read(1).astype(np.int64) - 1
    fields = np.zeros(labels.shape, np.int64)
    for k in range(CLASSES):
        found, count = ndimage.label(labels == k)
        fields[found > 0] = found[found > 0] + fields.max()
        assert count
    image = torch.from_numpy(scene.read(scene.grid.full_window).data)[None]
    return scene.bands, image, labels, fields


def folds(labels: np.ndarray, fields: np.ndarray) -> list[np.ndarray]:
    """Return the test pixels of each fold, (H, W) bool: whole fields."""
    known = labels >= 0
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    places = np.argwhere(known)
    found = []
    for _, test in splitter.split(places, labels[known], fields[known]):
        mask = np.zeros(labels.shape, bool)
        mask[tuple(places[test].T)] = True
        found.append(mask)
    return found


def build(name: str, shared: str) -> Any:
    """Return a network whose statistics and components come from all pixels, not from labels."""
    bands, image, _, _ = data(shared, name)
    pixels = image[0].flatten(1)
    model = ModelSpec.model_validate(models(shared)[name])
    torch.manual_seed(SEED)
    frozen = model.backbone != "vit_tiny_patch16_224"
    network = build_network(
        model, TunerSpec(method="head" if frozen else "full"), bands=bands, classes=CLASSES,
        mean=pixels.mean(1), std=pixels.std(1),
    )  # fmt: skip
    if network.backbone.reduces_by == "pca":
        normal = network.prepare(image, valid_of(image))[0].flatten(1).T
        weight = network.backbone.projection.weight
        with torch.no_grad():
            weight.copy_(principal_components([normal], len(weight))[..., None, None])
    return network


def valid_of(image: torch.Tensor) -> torch.Tensor:
    """Return that every pixel counts, (B, H, W)."""
    return torch.ones(len(image), *image.shape[2:], dtype=torch.bool)


def sampled(train: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Return at most ``SAMPLES`` training pixels of each field, (H, W) bool."""
    draw, mask = np.random.default_rng(SEED), np.zeros_like(train)
    for field in np.unique(fields[train]):
        places = np.argwhere(fields == field)
        mask[tuple(draw.permutation(places)[:SAMPLES].T)] = True
    return mask


@cache
def solvable(name: str, shared: str) -> tuple[Any, np.ndarray]:
    """Return a network and its features of every pixel, (H, W, F): the same in every fold."""
    network = build(name, shared).eval()
    _, image, _, _ = data(shared, name)
    with torch.inference_mode():
        found = network.pixel_features(image, valid_of(image))[0]
    return network, found.movedim(0, -1).numpy()


def trained(name: str, shared: str, train: np.ndarray) -> np.ndarray:
    """Train a whole network on random chips; return the class of every pixel, (H, W)."""
    network = build(name, shared).train()
    _, image, labels, _ = data(shared, name)
    target = torch.from_numpy(np.where(train, labels, -1))
    draw, places = np.random.default_rng(SEED), np.argwhere(train)
    optimizer = torch.optim.AdamW(network.trainable_parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        centres = places[draw.integers(len(places), size=BATCH)]
        corners = np.clip(centres - CHIP_PX // 2, 0, np.array(labels.shape) - CHIP_PX)
        cut = [np.s_[..., r : r + CHIP_PX, c : c + CHIP_PX] for r, c in corners]
        chips, wanted = (
            torch.cat([image[one] for one in cut]),
            torch.stack([target[one] for one in cut]),
        )
        loss = functional.cross_entropy(network(chips, valid_of(chips)), wanted, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        classes: np.ndarray = network.eval()(image, valid_of(image))[0].argmax(0).numpy()
    return classes


def run(name: str, shared: str, test: np.ndarray) -> dict[str, Any]:
    """Return the confusion matrix of one fold."""
    _, _, labels, fields = data(shared)
    train = (labels >= 0) & ~test
    started = time.process_time()
    if name.startswith("small"):
        found = trained(name, shared, train)[test]
    else:
        network, features = solvable(name, shared)
        few = sampled(train, fields)
        network.head.solve(features[few], labels[few], fields[few], seed=SEED)
        with torch.inference_mode():
            scores = network.head.probabilities(torch.from_numpy(features[test]))
        found = scores.argmax(1).numpy()
    matrix = confusion_matrix(labels[test], found, labels=range(CLASSES))
    return {"matrix": matrix.tolist(), "seconds": time.process_time() - started}


def table(lines: list[dict[str, Any]], shared: str) -> None:
    """Print accuracy over the folds, and F1 over all of them, of classes with several fields."""
    _, _, labels, fields = data(shared)
    several = [k for k in range(CLASSES) if len(np.unique(fields[labels == k])) > 1]
    forest: np.ndarray | None = None
    print("| model | accuracy | less the forest | macro F1, pooled | CPU s per fold |")
    print("|---|---|---|---|---|")
    for name in models(shared):
        own = sorted((one for one in lines if one["model"] == name), key=lambda one: one["fold"])
        if not own:
            continue
        matrices = np.array([one["matrix"] for one in own])[:, several]
        right = matrices[:, range(len(several)), several].sum(1) / matrices.sum((1, 2))
        forest = right if forest is None else forest
        pooled = matrices.sum(0)
        hits = pooled[range(len(several)), several]
        f1 = 2 * hits / np.maximum(pooled.sum(1) + pooled.sum(0)[several], 1)
        apart = right - forest[: len(right)]
        seconds = np.mean([one["seconds"] for one in own])
        columns = [name, _mean(right), _mean(apart), f"{f1.mean():.3f}", f"{seconds:.1f}"]
        print(f"| {' | '.join(columns)} |" + f" {len(own)} folds" * (len(own) < FOLDS))


def _mean(values: np.ndarray) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{values.mean():.3f} ± {error:.3f}"


def cost(name: str, shared: str) -> None:
    """Print parameters of stem and projection, CPU time of a training step, peak memory."""
    _, image, _, _ = data(shared)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network = build(name, shared).train()
    chips = image[..., :32, :32].expand(4, -1, -1, -1)
    valid = valid_of(chips)
    seconds = []
    for _ in range(2):
        started = time.process_time()
        network.backbone.dense(network.enlarge(network.enter(chips, valid)[0]), [5])[
            0
        ].square().mean().backward()
        seconds.append(time.process_time() - started)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    parts = [network.backbone.patch_embed, network.backbone.projection]
    count = sum(p.numel() for part in parts if part is not None for p in part.parameters())
    print(
        f"{count / 1e6:.2f} M parameters, {min(seconds):.1f} s per step of 4 chips, {peak:.0f} MiB"
    )


def main() -> None:
    """Run what is missing in the results, fold by fold, and print the table."""
    shared = sys.argv[1]
    if sys.argv[2] == "--cost":
        cost(sys.argv[3], shared)
        return
    path = Path(sys.argv[2])
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(one["model"], one["fold"]) for one in lines}
    _, _, labels, fields = data(shared)
    parts = folds(labels, fields)
    wanted = models(shared)
    for kind in ("pixels", "ViT-S, ", "small", "beside", "DOFA"):
        names = [name for name in wanted if kind in name]
        for fold, name in [(fold, name) for fold in range(FOLDS) for name in names]:
            if (name, fold) not in done and ("beside" in name) == (kind == "beside"):
                found = run(name, shared, parts[fold])
                lines.append({"model": name, "fold": fold, **found})
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    table(lines, shared)


if __name__ == "__main__":
    main()
