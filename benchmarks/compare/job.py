"""What every contender is given, and what it tells: arguments, network, clocks, the map's file.

Nothing of rsmeta is imported here: the contenders run in other environments too.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

BANDS, CLASSES, TILE_PX, OVERLAP_PX = 13, 10, 224, 32
STRIDE_PX = TILE_PX - OVERLAP_PX
BACKBONE = "vit_small_patch16_224"
#: From the file's numbers to reflectance; mean and deviation of each band.
SCALE, MEAN, STD = 0.0001, 0.2, 0.1


@dataclass(frozen=True)
class Job:
    """One map to make.

    Args:
        scene: GeoTIFF of 13 bands, uint16.
        weights: Folder with ``vit.safetensors`` and ``conv.safetensors``.
        output: GeoTIFF of class numbers to write.
        network: ``vit`` or ``conv``.
        threads: Threads within torch.
        batch: Tiles through the network at once.
        variant: Which of its ways a contender goes, as it names them.
    """

    scene: Path
    weights: Path
    output: Path
    network: str
    threads: int
    batch: int
    variant: str


def read_job() -> Job:
    """Return the job that the command line gives, and hold torch to its threads."""
    parser = argparse.ArgumentParser()
    for name in ("scene", "weights", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("network", choices=("vit", "conv"))
    parser.add_argument("threads", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("variant")
    job = Job(**vars(parser.parse_args()))
    torch.set_num_threads(job.threads)
    return job


class PixelViT(nn.Module):
    """timm's ViT-S/16 with a score per class and patch, bilinearly enlarged to pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = timm.create_model(BACKBONE, in_chans=BANDS, num_classes=0, img_size=TILE_PX)
        self.score = nn.Conv2d(self.vit.embed_dim, CLASSES, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of normalised bands (B, C, H, W)."""
        tokens = self.vit.forward_features(x)[:, self.vit.num_prefix_tokens :]
        side = x.shape[-1] // self.vit.patch_embed.patch_size[0]
        maps = tokens.transpose(1, 2).unflatten(2, (-1, side))
        return functional.interpolate(
            self.score(maps), size=x.shape[-2:], mode="bilinear", align_corners=False
        )


def new_network(name: str) -> nn.Module:
    """Return a network with random weights: ``vit``, or ``conv``, which is nearly free."""
    if name == "vit":
        return PixelViT()
    return nn.Sequential(nn.Conv2d(BANDS, CLASSES, kernel_size=1))


def load_network(job: Job) -> nn.Module:
    """Return the job's network with its weights, for normalised bands."""
    network = new_network(job.network)
    network.load_state_dict(load_file(job.weights / f"{job.network}.safetensors"))
    return network.eval()


def load_parts(job: Job, **parts: nn.Module) -> None:
    """Load the job's weights into modules that stand where ``PixelViT`` has them, by name."""
    weights = load_file(job.weights / f"{job.network}.safetensors")
    for name, part in parts.items():
        start = f"{name}."
        part.load_state_dict(
            {key.removeprefix(start): weights[key] for key in weights if key.startswith(start)}
        )


def normalised(numbers: Tensor) -> Tensor:
    """Return bands in deviations from their mean, of the file's numbers as float32."""
    return (numbers * SCALE - MEAN) / STD


def write_classes(job: Job, classes: NDArray[np.uint8]) -> None:
    """Write class numbers (H, W) on the scene's grid, compressed in blocks of 512 pixels."""
    with rasterio.open(job.scene) as scene:
        grid = {"crs": scene.crs, "transform": scene.transform}
        height, width = scene.shape
    with rasterio.open(
        job.output, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8",
        tiled=True, blockxsize=512, blockysize=512, compress="deflate", **grid,
    ) as file:  # fmt: skip
        file.write(classes, 1)


def tell(work: Callable[[], object], *packages: str) -> None:
    """Do the work between two clocks; print what they say, and the memory held before.

    Args:
        work: Makes the map, from opening the scene to a complete file.
        packages: Whose versions to tell.
    """
    before = _resident_bytes()
    started, cpu = time.perf_counter(), time.process_time()
    work()
    told = {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "before": before,
        "versions": {name: version(name) for name in ("torch", *packages)},
    }
    print(json.dumps(told))


def _resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
