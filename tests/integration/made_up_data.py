"""Made-up files in the layouts of the published data sets that presets name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_RNG = np.random.default_rng(0)

#: Classes of DOTA v1.0.
DOTA = (
    "baseball-diamond", "basketball-court", "bridge", "ground-track-field", "harbor", "helicopter",
    "large-vehicle", "plane", "roundabout", "ship", "small-vehicle", "soccer-ball-field",
    "storage-tank", "swimming-pool", "tennis-court",
)  # fmt: skip


def _picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (40, 44) if mode == "L" else (40, 44, 3)
    Image.fromarray(_RNG.integers(0, 255, shape).astype(np.uint8), mode).save(path)


def _index(file: Path, entries: Sequence[tuple[str, int]]) -> None:
    file.write_text("".join(f"{path} {label}\n" for path, label in entries))
    for i, (path, _) in enumerate(entries):
        _picture(file.parent / path, "L" if i % 5 == 4 else "RGB")  # some are grey, as there


def write_dota(root: Path) -> None:
    for part in ("train", "val"):
        lines = ["imagesource:GoogleEarth", "gsd:0.3"]
        for i, name in enumerate(DOTA):
            x, y = 20 + 20 * (i % 5), 20 + 20 * (i // 5)
            corners = f"{x}.0 {y - 8}.0 {x + 8}.0 {y}.0 {x}.0 {y + 8}.0 {x - 8}.0 {y}.0"
            lines.append(f"{corners} {name} {i % 2}")
        for number in ("0000", "0001"):
            (root / part / "labelTxt").mkdir(parents=True, exist_ok=True)
            (root / part / "labelTxt" / f"P{number}.txt").write_text("\n".join(lines) + "\n")
            picture = root / part / "images" / f"P{number}.png"
            picture.parent.mkdir(exist_ok=True)
            Image.fromarray(_RNG.integers(0, 255, (100, 130, 3)).astype(np.uint8)).save(picture)


def write_fusrs(root: Path, version: str) -> None:
    for part, count in (("train", 8), ("test", 4)):
        entries = [(f"{part}/{i:05}.png", i % 4) for i in range(count)]
        _index(root / f"fusrs_{version}_{part}.txt", entries)
    (root / "classnames.txt").write_text("cargo\nfishing\ntanker\ndredger")


def write_cifar100(root: Path) -> None:
    for part, count in (("train", 200), ("test", 100)):
        records = _RNG.integers(0, 255, (count, 3074)).astype(np.uint8)
        records[:, 1] = np.arange(count) % 100
        (root / f"{part}.bin").write_bytes(records.tobytes())
    names = "\n".join(f"class {i}" for i in range(100))
    (root / "fine_label_names.txt").write_text(names + "\n")


def write_places_lt(root: Path) -> None:
    names = ("airfield", "airplane_cabin", "apartment_building-outdoor")
    (root / "classnames.txt").write_text("".join(f"{name} {name}\n" for name in names))
    for part, folder in (("train", "train"), ("val", "val"), ("test", "val")):
        entries = [(f"{folder}/{n}/{part}_{i:08}.jpg", k) for i in range(2)
                   for k, n in enumerate(names)]  # fmt: skip
        _index(root / f"Places_LT_{part}.txt", entries)


def write_imagenet_lt(root: Path) -> None:
    names = {"n01440764": "tench", "n02012849": "crane bird", "n03126707": "crane"}
    lines = [f"{key} {name}\n" for key, name in names.items()]
    (root / "classnames.txt").write_text("".join(lines))
    for part in ("train", "val", "test"):
        folder = "train" if part == "train" else "val"
        entries = [(f"{folder}/{key}/{part}_{key}_{i}.JPEG", k) for i in range(2)
                   for k, key in enumerate(names)]  # fmt: skip
        _index(root / f"ImageNet_LT_{part}.txt", entries)


def write_inat2018(root: Path) -> None:
    species = ("Anas acuta", "Rosa canina", "Felis catus")
    categories = [{"id": i, "name": name, "supercategory": "x"} for i, name in enumerate(species)]
    (root / "categories.json").write_text(json.dumps(categories))
    for part in ("train", "val"):
        entries = [(f"train_val2018/Aves/{k}/{part}{i}.jpg", k) for i in range(2)
                   for k in range(3)]  # fmt: skip
        _index(root / f"iNaturalist18_{part}.txt", entries)


#: What writes the files of each preset of data, and the number of its classes there.
WRITERS: dict[str, tuple[Callable[[Path], None], int]] = {
    "dota": (write_dota, len(DOTA)),
    "fusrs_v17": (lambda root: write_fusrs(root, "v17"), 4),
    "fusrs_v25": (lambda root: write_fusrs(root, "v25"), 4),
    "cifar100_ir10": (write_cifar100, 100),
    "cifar100_ir50": (write_cifar100, 100),
    "cifar100_ir100": (write_cifar100, 100),
    "places_lt": (write_places_lt, 3),
    "imagenet_lt": (write_imagenet_lt, 3),
    "inat2018": (write_inat2018, 3),
}
