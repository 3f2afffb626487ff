"""What pretraining bought: the nano backbone with its weights against random ones, equal steps.

``python benchmarks/bench_pretrain.py FOLDER [SEEDS]`` makes the sample landscape in FOLDER, trains
on its west and tests on its east, none of which the weights have seen, and prints a table. Frozen:
only the head learns. LoRA: adapters and head learn. The stem stays as it is in all of them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import rsmeta
from rsmeta.config.load import read_yaml
from rsmeta.config.resources import config_dir
from rsmeta.sample_data import make_landscape

#: Bands of each sensor that the channel groups know, and what its files' names end with.
SENSORS = {
    "landsat8": (["blue", "green", "red", "nir08", "swir16", "swir22"], "_landsat8"),
    "sentinel2": (
        ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"],
        "",
    ),
}
#: Tuner and head of each row.
WAYS = {"frozen, linear head": ("head", "linear"), "LoRA, fpn": ("lora", "fpn")}
STEPS = 200
BATCH = 16


def configuration(sensor: str, way: str, *, pretrained: bool, folder: Path) -> dict[str, Any]:
    """Return the configuration of one run."""
    bands, suffix = SENSORS[sensor]
    tuner, head = WAYS[way]
    demo = read_yaml(config_dir() / "experiments" / "demo.yaml")["data"]
    return {
        "data": {
            **{key: demo[key] for key in ("labels", "classes", "ignore")},
            "root": str(folder),
            "scenes": [f"west{suffix}.tif"],
            "test_scenes": [f"east{suffix}.tif"],
            "use_bands": bands,
            "chip_px": 32,
            "chips_per_epoch": STEPS * BATCH,
            "batch_size": BATCH,
            "split": {"validation": 0},
        },
        "model": {
            "backbone": "satmae_vit_nano_group",
            "pretrained": pretrained,
            "head": head,
            "stem": {"trainable": False},
        },
        "tuner": tuner,
        "trainer": {"max_epochs": 1, "keep": "last", "optimizer": {"lr": 0.003}},
    }


def main(folder: Path, seeds: int) -> None:
    """Train and test every row, and print it when it is done."""
    print("| sensor | what learns | weights | accuracy | mIoU |\n|---|---|---|---|---|")
    for sensor in SENSORS:
        make_landscape(folder, sensor=sensor)
        for way in WAYS:
            for pretrained in (True, False):
                found = []
                for seed in range(seeds):
                    tree = configuration(sensor, way, pretrained=pretrained, folder=folder)
                    with tempfile.TemporaryDirectory() as run:
                        result = rsmeta.train({"seed": seed, **tree}, output=Path(run) / "run")
                    test = result.metrics["test"]
                    found.append((test["accuracy"], test["miou"]))
                shown = (" ".join(f"{value:.3f}" for value in row) for row in np.transpose(found))
                name = "pretrained" if pretrained else "random"
                print(f"| {sensor} | {way} | {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
