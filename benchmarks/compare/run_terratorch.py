"""Map a scene with TerraTorch: the whole scene as a tensor through its ``tiled_inference``.

``default``: its own settings, which suit the job: crop 224, stride 192, 8 pixels cut off each tile,
8 pixels mirrored at the scene's border, overlaps blended. ``aligned``: nothing cut off, no mirror,
so that its tiles lie as rsmeta's.
"""

from __future__ import annotations

import numpy as np
import rasterio
import torch
from job import STRIDE_PX, TILE_PX, Job, load_network, normalised, read_job, tell, write_classes
from terratorch.tasks.tiled_inference import tiled_inference
from torch import Tensor, nn

BORDERS = {"default": {}, "aligned": {"delta": 0, "padding": False}}


@torch.inference_mode()
def make_map(job: Job, network: nn.Module) -> None:
    """Read, compute, write, one after the other, as TerraTorch's tasks do."""
    with rasterio.open(job.scene) as file:
        image = torch.from_numpy(file.read(out_dtype="float32"))[None]

    def forward(tiles: Tensor) -> Tensor:
        return network(normalised(tiles))

    logits = tiled_inference(
        forward,
        image,
        crop=TILE_PX,
        stride=STRIDE_PX,
        batch_size=job.batch,
        **BORDERS[job.variant],
    )
    write_classes(job, logits.argmax(dim=1)[0].numpy().astype(np.uint8))


if __name__ == "__main__":
    the_job = read_job()
    the_network = load_network(the_job)
    tell(lambda: make_map(the_job, the_network), "terratorch", "timm")
