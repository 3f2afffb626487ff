"""Memory is set by block and batch, whatever the size of the scene."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

ROOT = Path(__file__).resolve().parents[2]

#: Maps a scene with one convolution; a process of its own, since memory counts per process.
_MAP = """
import sys
from torch import nn
from rsmeta.gis.outputs.products import Products
from rsmeta.malloc import keep_freed_memory
from rsmeta.workflows.mapping.predict_scenes import predict
from tests.unit.mapping_bundles import bundle_of

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, image, valid):
        return self.layer(image)

bundle = bundle_of(Tiny(), classes=3, tile_px=224, overlap=0.15)
keep_freed_memory()  # as the command does
scene, output = sys.argv[1:]
products = Products(output, summary=output + ".json")
predict(scene, bundle, output=products, execution="cpu")
"""


def write_scene(path: Path, side_px: int, filled_px: int) -> None:
    """Write a scene with the same noise in every tile above and left of ``filled_px``."""
    noise = np.random.default_rng(0).integers(1, 255, (2, 512, 512), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", width=side_px, height=side_px, count=2, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10), tiled=True,
        blockxsize=512, blockysize=512, nodata=0, sparse_ok=True,
    ) as file:  # fmt: skip
        file.descriptions = ("red", "nir")
        for row in range(0, filled_px, 512):
            for col in range(0, filled_px, 512):
                height, width = min(512, side_px - row), min(512, side_px - col)
                file.write(noise[:, :height, :width], window=Window(col, row, width, height))


def peak_bytes(folder: Path, side_px: int, filled_px: int) -> int:
    """Map a scene of that size; return the most memory that it took."""
    scene, output = folder / f"{side_px}.tif", folder / f"{side_px}_map.tif"
    write_scene(scene, side_px, filled_px)
    subprocess.run([sys.executable, "-c", _MAP, str(scene), str(output)], cwd=ROOT, check=True)
    told = json.loads(output.with_name(f"{output.name}.json").read_text())
    for path in (scene, output):
        path.unlink()
    peak: int = told["peak_memory_bytes"]
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("mostly_empty", [False, True])
def test_peak_memory_does_not_grow_with_the_scene(tmp_path: Path, *, mostly_empty: bool) -> None:
    small, large = (
        peak_bytes(tmp_path, side_px, 2_048 if mostly_empty else side_px)
        for side_px in (4_000, 16_000)
    )
    print(f"{small / 1e6:.0f} MB for 4 000², {large / 1e6:.0f} MB for 16 000²")  # noqa: T201
    assert large <= 1.05 * small
