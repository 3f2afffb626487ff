"""Map a scene with a loop over TorchGeo's ``GridGeoSampler``, stitched by hand.

``sum``: the logits of overlapping tiles are added up in one array of the scene's size; the class
is chosen at the end. ``crop``: of each tile only what lies nearest to its centre is kept, as class
numbers, which takes an array of one byte per pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import rasterio
import torch
from job import (
    CLASSES,
    OVERLAP_PX,
    STRIDE_PX,
    TILE_PX,
    Job,
    load_network,
    normalised,
    read_job,
    tell,
    write_classes,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GridGeoSampler

if TYPE_CHECKING:
    from numpy.typing import NDArray


@torch.inference_mode()
def make_map(job: Job, network: nn.Module) -> None:
    """Take tile after tile from the loader, which reads in this process."""
    dataset = RasterDataset(paths=[job.scene])
    sampler = GridGeoSampler(dataset, size=TILE_PX, stride=STRIDE_PX)
    loader = DataLoader(dataset, job.batch, sampler=sampler, collate_fn=stack_samples)
    with rasterio.open(job.scene) as file:
        grid, shape = file.transform, file.shape
    summed = job.variant == "sum"
    stitched = np.zeros((CLASSES, *shape), np.float32) if summed else np.zeros(shape, np.uint8)
    for batch in loader:
        logits = network(normalised(batch["image"]))
        for (x, y, _), tile in zip(batch["bounds"], logits, strict=True):
            col, row = (round(at) for at in ~grid * (x.start, y.stop))
            if summed:
                _add(stitched, tile, row, col)
            else:
                _keep_centre(stitched, tile, row, col)
    classes = _argmax(stitched) if summed else stitched
    write_classes(job, classes)


def _add(stitched: NDArray[np.float32], tile: Tensor, row: int, col: int) -> None:
    """Add the part of a tile that lies on the scene; those at its edges reach over them."""
    (rows, cols), (own_rows, own_cols) = _on_scene(stitched.shape[1:], row, col, margin_px=0)
    stitched[:, rows, cols] += tile[:, own_rows, own_cols].numpy()


def _keep_centre(stitched: NDArray[np.uint8], tile: Tensor, row: int, col: int) -> None:
    """Keep the classes of a tile, without half the overlap at each side inside the scene."""
    margin_px = OVERLAP_PX // 2
    (rows, cols), (own_rows, own_cols) = _on_scene(stitched.shape, row, col, margin_px=margin_px)
    stitched[rows, cols] = tile.argmax(dim=0)[own_rows, own_cols].numpy()


def _on_scene(
    shape: tuple[int, ...], row: int, col: int, *, margin_px: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a tile lies in the scene, and which part of the tile that is."""
    scene, own = [], []
    for start, side in zip((row, col), shape, strict=True):
        first = start + margin_px if start > 0 else 0
        last = start + TILE_PX - margin_px if start + TILE_PX < side else side
        scene.append(slice(first, last))
        own.append(slice(first - start, last - start))
    return (scene[0], scene[1]), (own[0], own[1])


def _argmax(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the class of each pixel, a strip at a time: all at once takes 8 bytes a pixel."""
    strips = (scores[:, row : row + 512] for row in range(0, scores.shape[1], 512))
    return np.concatenate([strip.argmax(axis=0).astype(np.uint8) for strip in strips])


if __name__ == "__main__":
    the_job = read_job()
    the_network = load_network(the_job)
    tell(lambda: make_map(the_job, the_network), "torchgeo", "timm")
