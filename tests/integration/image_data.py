"""Made-up images of three classes that differ in colour: few of the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

#: Images of each class in training, validation and test; red, green and nir of each.
COUNTS = {"crop": (24, 6, 8), "forest": (12, 6, 8), "wadi": (4, 3, 8)}
COLOURS = {"crop": (300, 500, 900), "forest": (150, 250, 700), "wadi": (700, 600, 650)}
BANDS = ("red", "green", "nir")

MODEL = (
    "{pretrained: false, "  # on purpose: some tests freeze random weights
    "options: {img_size: 32, patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}}"
)

FOLDER = f"""\
task: classification
data:
  kind: folder
  chip_px: 32
  resize: none
  crop: centre
  batch_size: 4
  augment: {{gain: 0.0, band_gain: 0.02}}
model: {MODEL}
tuner: full
trainer: {{max_epochs: 3, accelerator: cpu, optimizer: {{lr: 0.003}}}}
"""


def write_images(folder: Path, make_scene: MakeScene) -> Path:
    """Write train, val and test folders with a folder of GeoTIFFs per class; return ``folder``."""
    rng = np.random.default_rng(0)
    for row, (name, counts) in enumerate(COUNTS.items()):
        for column, (part, count) in enumerate(zip(("train", "val", "test"), counts, strict=True)):
            for i in range(count):
                colour = np.array(COLOURS[name])[:, np.newaxis, np.newaxis]
                image = rng.normal(colour, 40, (3, 32, 32)).clip(1).astype(np.uint16)
                place = Affine(10, 0, 500_000 + 400 * i, 0, -10, 5e6 + 4000 * (row + 3 * column))
                make_scene(folder / part / name / f"{name}_{i}.tif", image, descriptions=BANDS,
                           transform=place, nodata=0)  # fmt: skip
    return folder
