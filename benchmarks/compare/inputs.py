"""What a comparison starts from and ends with: scenes, weights, and how alike maps are.

    python benchmarks/compare/inputs.py scene FILE SIDE_PX
    python benchmarks/compare/inputs.py weights FOLDER
    python benchmarks/compare/inputs.py alike MAP OTHER_MAP

A process of its own, so that whoever measures the contenders stays small: a process is charged with
the memory that its parent held when it was started.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import torch
from job import BANDS, CLASSES, MEAN, SCALE, STD, TILE_PX, new_network, normalised
from rasterio.windows import Window
from safetensors.torch import save_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_PX = 512
NAMES = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip


def pattern() -> NDArray[np.uint16]:
    """Return ground of soft patches with some noise, (13, 512, 512), which fits to itself."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((BANDS, BLOCK_PX, BLOCK_PX))
    waves = np.fft.fftfreq(BLOCK_PX)
    smoothing = np.exp(-2 * (np.pi * 12) ** 2 * (waves[:, None] ** 2 + waves**2))
    soft = np.fft.ifft2(np.fft.fft2(noise) * smoothing).real
    ground = MEAN + STD * soft / soft.std() + 0.005 * random.standard_normal(soft.shape)
    return (ground / SCALE).clip(1, 10_000).astype(np.uint16)


def write_scene(path: Path, side_px: int) -> None:
    """Write the pattern over and over, tiled and deflated as products are."""
    ground = pattern()
    with rasterio.open(
        path, "w", driver="GTiff", width=side_px, height=side_px, count=BANDS, dtype="uint16",
        crs="EPSG:32633", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10), tiled=True,
        blockxsize=BLOCK_PX, blockysize=BLOCK_PX, compress="deflate", nodata=0,
    ) as file:  # fmt: skip
        file.descriptions = NAMES
        for row in range(0, side_px, BLOCK_PX):
            for col in range(0, side_px, BLOCK_PX):
                height, width = min(BLOCK_PX, side_px - row), min(BLOCK_PX, side_px - col)
                file.write(ground[:, :height, :width], window=Window(col, row, width, height))


@torch.inference_mode()
def write_weights(folder: Path) -> None:
    """Write random weights of both networks, their last biases such that all classes occur."""
    torch.manual_seed(0)
    tile = torch.from_numpy(pattern()[None, :, :TILE_PX, :TILE_PX].astype(np.float32))
    for name in ("vit", "conv"):
        network = new_network(name).eval()
        last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        if last.bias is None or last.out_channels != CLASSES:
            raise TypeError(f"the last convolution of {name} does not score the classes: {last}")
        last.bias -= network(normalised(tile)).mean(dim=(0, 2, 3))
        save_file(network.state_dict(), folder / f"{name}.safetensors")


def alike(path: Path, other: Path) -> float:
    """Return the share of pixels at which two maps have the same class."""
    same = 0
    with rasterio.open(path) as first, rasterio.open(other) as second:
        if (first.shape, first.transform, first.crs) != (
            second.shape, second.transform, second.crs,
        ):  # fmt: skip
            raise ValueError(f"{path.name} and {other.name} lie on different grids")
        for _, window in first.block_windows(1):
            same += int((first.read(1, window=window) == second.read(1, window=window)).sum())
        return same / (first.height * first.width)


def main() -> None:
    """Do what the first argument says."""
    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "scene":
        write_scene(path, int(sys.argv[3]))
    elif what == "weights":
        write_weights(path)
    else:
        print(alike(path, Path(sys.argv[3])))


if __name__ == "__main__":
    main()
