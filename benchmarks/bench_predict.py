"""How near mapping comes to the network alone: GeoTIFF to GeoTIFF against bare forward passes.

Both in one run, in turns, over the same tiles of a made-up scene of 13 bands:

    python benchmarks/bench_predict.py [SIDE_PX] [ROUNDS] [BACKBONE] [DEVICE] [THREADS]

prints tiles per second of the bare forward pass at its best batch size, of the whole way, and
the seconds of each stage. The bare pass runs in a thread of its own, as the engine's does, and with
as many threads inside: on a busy machine a main thread with more of them than there are free cores
waits at their barriers, and any comparison with it flatters the engine. With several threads there
is a second bare pass, in lanes as the engine's: a loop per thread, which do not wait for each
other. Seconds of CPU are given beside those of the clock, since other work on the machine disturbs
them less.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from rsmeta.bundle import BundleRecord, ModelBundle
from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.geo.grid import Grid
from rsmeta.geo.sensors import load_sensor
from rsmeta.geo.tiling import TilePlan
from rsmeta.inference import sizing
from rsmeta.inference.lanes import threads_per_lane
from rsmeta.models.build import build_network
from rsmeta.workflows.mapping.predict_scenes import predict

if TYPE_CHECKING:
    from rsmeta.models.network import Network

CLASSES = 10
TILE_PX = 224
OVERLAP_PX = 32
BATCHES = (1, 2, 4, 8, 16)
SENSOR = load_sensor("sentinel2_l1c")


def make_scene(path: Path, side_px: int) -> None:
    """Write noise in the 13 bands of Sentinel-2, tiled and compressed as products are."""
    noise = np.random.default_rng(0).integers(1, 4000, (13, 512, 512)).astype(np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", width=side_px, height=side_px, count=13, dtype="uint16",
        crs="EPSG:32633", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10), tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", nodata=0,
    ) as file:  # fmt: skip
        file.descriptions = tuple(band.name for band in SENSOR.bands)
        for row in range(0, side_px, 512):
            for col in range(0, side_px, 512):
                height, width = min(512, side_px - row), min(512, side_px - col)
                file.write(noise[:, :height, :width], window=Window(col, row, width, height))


def make_bundle(backbone: str, batch_size: int) -> ModelBundle:
    """Return a network with random weights, which take as long as any."""
    torch.manual_seed(0)
    spec = ModelSpec.model_validate({"backbone": backbone, "options": {"img_size": TILE_PX}})
    tuner = TunerSpec.model_validate({"method": "head"})
    network = build_network(
        spec,
        tuner,
        bands=SENSOR.bands,
        classes=CLASSES,
        mean=np.full(13, 0.2),
        std=np.full(13, 0.1),
    ).eval()
    bands = [
        {"name": b.name, "common_name": b.common_name, "mean": 0.2, "std": 0.1}
        for b in SENSOR.bands
    ]
    classes = [{"name": f"c{i}", "value": i, "colour": "#00ff00"} for i in range(CLASSES)]
    tree: dict[str, Any] = {
        "rsmeta": "bench", "created": "2026-11-24T00:00:00Z", "bands": bands,
        "classes": classes,
        "stem": {"strategy": None, "notes": (), "form": "standard", "normalisation": ""},
        "read": {}, "tile_px": TILE_PX, "gsd_m": None, "backbone": {"name": backbone},
        "model": spec, "tuner": tuner, "meta": {}, "training": {}, "weights_sha256": "0" * 64,
        "predict": {"overlap": (OVERLAP_PX + 0.5) / TILE_PX, "batch_size": batch_size},
    }  # fmt: skip
    return ModelBundle(BundleRecord.model_validate(tree), network)


def bare_seconds(
    network: Network, tiles: int, batch_size: int, device: str, *, lanes: int = 1
) -> tuple[float, float]:
    """Time the network alone, class probabilities included, over as many tiles: clock and CPU."""
    shares = [tiles // lanes + (lane < tiles % lanes) for lane in range(lanes)]
    started, cpu = time.perf_counter(), time.process_time()
    with threads_per_lane(lanes), ThreadPoolExecutor(lanes) as pool:
        for done in [
            pool.submit(_forward_passes, network, share, batch_size, device) for share in shares
        ]:
            done.result()
    return time.perf_counter() - started, time.process_time() - cpu


@torch.inference_mode()
def _forward_passes(network: Network, tiles: int, batch_size: int, device: str) -> None:
    image = torch.rand(batch_size, 13, TILE_PX, TILE_PX, device=device)
    valid = torch.ones(batch_size, TILE_PX, TILE_PX, dtype=torch.bool, device=device)
    for start in range(0, tiles, batch_size):
        size = min(batch_size, tiles - start)
        torch.softmax(network(image[:size], valid[:size]), dim=1).float().sum().item()


def best_batch(network: Network, device: str) -> int:
    """Return the batch size with the most tiles per second."""
    rates = {}
    for size in BATCHES:
        bare_seconds(network, size, size, device)
        rates[size] = 16 / bare_seconds(network, 16, size, device)[0]
        print(f"bare, batch {size}: {rates[size]:.2f} tiles/s", flush=True)
    return max(rates, key=lambda size: rates[size])


def main() -> None:
    """Print the rates of each round, and the stages of the last."""
    given = dict(enumerate(sys.argv[1:]))
    side_px, rounds = int(given.get(0, 1500)), int(given.get(1, 3))
    torch.set_num_threads(int(given.get(4, torch.get_num_threads())))
    backbone, device = given.get(2, "vit_small_patch16_224"), given.get(3, "cpu")
    print(f"{backbone}, {side_px} x {side_px} px, {device}, {platform.machine()}, ")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(f"{datetime.now(UTC):%Y-%m-%d}")
    network = make_bundle(backbone, 1).network.to(device)
    batch = best_batch(network, device)
    bundle = make_bundle(backbone, batch)
    grid = Grid(None, Affine.identity(), side_px, side_px)
    plan = TilePlan(
        scene_grid=grid, extent=grid.full_window, tile_px=TILE_PX, overlap_px=OVERLAP_PX,
        block_px=side_px,
    )  # fmt: skip
    tiles = len(plan.row_starts) * len(plan.col_starts)
    lanes = sizing.choose_lanes(torch.device(device))
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.tif"
        make_scene(scene, side_px)
        for _ in range(rounds):
            bare = {"one loop": bare_seconds(network, tiles, batch, device)}
            if lanes > 1:
                bare["in lanes"] = bare_seconds(network, tiles, batch, device, lanes=lanes)
            cpu = time.process_time()
            (result,) = predict(
                scene, bundle, output=Path(folder) / "map.tif", if_exists="overwrite",
                execution=device,
            )  # fmt: skip
            whole = result.seconds, time.process_time() - cpu
            print(f"{tiles} tiles ({result.tiles} computed): {_told(whole)}", end="")
            for name, seconds in bare.items():
                both = [alone / all_ for alone, all_ in zip(seconds, whole, strict=True)]
                for unit, ratio in zip(("clock", "CPU"), both, strict=True):
                    ratios.setdefault(f"{name}, {unit}", []).append(ratio)
                print(
                    f"; bare, {name}: {_told(seconds)}, ratios {both[0]:.3f}, {both[1]:.3f}", end=""
                )
            print(flush=True)
    print("s of the last round:", {name: round(s, 1) for name, s in result.stages.items()})
    for name, found in ratios.items():
        low, high = min(found), max(found)
        print(f"ratio to the bare network, {name}: {statistics.median(found):.3f}", end="")
        print(f" ({low:.3f} to {high:.3f})")


def _told(seconds: tuple[float, float]) -> str:
    return f"{seconds[0]:.2f} s, {seconds[1]:.2f} s of CPU"


if __name__ == "__main__":
    main()
