"""Made-up scenes, labels and pictures that what reads them for training is timed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

if TYPE_CHECKING:
    from pathlib import Path

BANDS = ("blue", "green", "red", "nir")


def write_scene(path: Path, side: int, **profile: Any) -> None:
    """Write a scene of four bands, with texture that deflates as imagery does, and labels."""
    rng = np.random.default_rng(0)
    transform = from_origin(500_000, 5_200_000, 10, 10)
    common = {"driver": "GTiff", "height": side, "width": side, "crs": "EPSG:32633",
              "transform": transform, **profile}  # fmt: skip
    with rasterio.open(path, "w", count=4, dtype="uint16", **common) as scene:
        scene.descriptions = BANDS
        for top in range(0, side, 1024):
            height = min(1024, side - top)
            coarse = rng.integers(300, 3000, (4, -(-height // 8), -(-side // 8)))
            block = np.kron(coarse, np.ones((1, 8, 8), np.int64))[:, :height, :side]
            noisy = block + rng.integers(0, 64, block.shape)
            window = rasterio.windows.Window(0, top, side, height)
            scene.write(noisy.astype(np.uint16), window=window)
    with rasterio.open(
        path.with_name(f"{path.stem}_labels.tif"), "w", count=1, dtype="uint8", **common
    ) as labels:
        for top in range(0, side, 1024):
            height = min(1024, side - top)
            coarse = rng.integers(0, 4, (-(-height // 32), -(-side // 32)), dtype=np.uint8)
            window = rasterio.windows.Window(0, top, side, height)
            labels.write(np.kron(coarse, np.ones((32, 32), np.uint8))[:height, :side], 1,
                         window=window)  # fmt: skip


def write_pictures(folder: Path, suffix: str, count: int = 120) -> None:
    """Write a folder of pictures of 256 x 256 pixels in four classes."""
    rng = np.random.default_rng(0)
    for i in range(count):
        place = folder / f"class{i % 4}" / f"{i}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(place)
