"""Vectorise a large made-up class map: seconds, peak of memory, polygons.

    python benchmarks/bench_vector.py make map.tif 20000
    python benchmarks/bench_vector.py run map.tif map.gpkg smallest_m2=1000 simplify_px=1

The map is made by itself, so that the peak is that of vectorising alone.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyogrio
import rasterio
from rasterio.windows import Window

from rsmeta.config.polygons import PolygonSettings
from rsmeta.gis.tags import CLASSES as CLASSES_TAG
from rsmeta.gis.vector import vectorise
from rsmeta.workflows.mapping.summary import peak_memory_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = 5
ROWS = 512
#: Patches of these sides, in pixels, with the share that each has in the sum.
PATCHES_PX = {128: 1.0, 32: 0.5, 8: 0.3, 3: 0.12}
#: Of that sum: they part it into classes, of which one covers half of the map, from side to side.
STEPS = np.array([-0.55, -0.3, 0.3, 0.55])
NODATA = 255


def rows_of(coarse: NDArray[np.float32], side_px: int, rows: range, width: int) -> NDArray:
    """Return rows of a coarse grid of numbers, one every ``side_px``, with even slopes between."""
    row, part = np.divmod(np.arange(rows.start, rows.stop) / side_px, 1)
    row, part = row.astype(int), part.astype(np.float32)[:, np.newaxis]
    low = coarse[row] * (1 - part) + coarse[row + 1] * part
    col, part = np.divmod(np.arange(width) / side_px, 1)
    col, part = col.astype(int), part.astype(np.float32)
    return low[:, col] * (1 - part) + low[:, col + 1] * part


def make(path: Path, side: int) -> None:
    """Write a map of patches of many sizes, with pixels of 10 m."""
    rng = np.random.default_rng(0)
    grids = {
        px: rng.uniform(-share, share, (side // px + 2, side // px + 2)).astype(np.float32)
        for px, share in PATCHES_PX.items()
    }
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8",
        "crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5.2e6),
        "nodata": NODATA, "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate",
    }  # fmt: skip
    named = [{"value": k, "name": f"class {k}", "colour": "#0072b2"} for k in range(CLASSES)]
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.update_tags(**{CLASSES_TAG: json.dumps(named)})
        for top in range(0, side, ROWS):
            rows = range(top, min(top + ROWS, side))
            field = sum(rows_of(grid, px, rows, side) for px, grid in grids.items())
            values = np.digitize(field, STEPS).astype(np.uint8)
            dataset.write(values, 1, window=Window(0, top, side, len(rows)))


def run(source: Path, output: Path, settings: dict[str, float]) -> None:
    """Vectorise the map and print what it took."""
    started, cpu = time.perf_counter(), time.process_time()
    vectorise(source, output, settings=PolygonSettings(**settings), overwrite=True)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = peak_memory_bytes() / 1e9
    count = pyogrio.read_info(output, layer=0, force_feature_count=True)["features"]
    with rasterio.open(source) as dataset:
        shape = f"{dataset.width} x {dataset.height}"
    print(f"{platform.machine()}, {datetime.now(UTC):%Y-%m-%d}: {shape} px, {settings}")
    print(
        f"{count:,} polygons, {seconds:.0f} s, {cpu:.0f} s of CPU, peak {peak:.2f} GB, "
        f"{output.stat().st_size / 1e9:.2f} GB of {output.suffix}"
    )


def main() -> None:
    """Make a map, or vectorise one."""
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        given = (word.split("=") for word in sys.argv[4:])
        run(Path(sys.argv[2]), Path(sys.argv[3]), {key: float(value) for key, value in given})


if __name__ == "__main__":
    main()
