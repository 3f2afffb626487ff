"""How near mapping comes to the network alone: GeoTIFF to GeoTIFF against bare forward passes.

Both in one run, in turns, over the same tiles of a made-up scene of 13 bands:

    python benchmarks/bench_predict.py [SIDE_PX] [ROUNDS] [BACKBONE] [DEVICE] [THREADS] [BATCH]

prints seconds of the bare forward pass at its best batch size, or BATCH, of the whole way, and of
each stage. Each way has a process of its own, which computes when it has its turn: the whole way
with the allocator set as the command line sets it (``rsmeta.malloc``); the bare pass as torch is by
itself, and *with ours*: with that setting and packed weights (``rsmeta.models.packed``), so that
their gain does not count for the engine. The whole way is all of ``predict`` but loading the
bundle: checks, the network, the finished file.

The bare pass runs in a thread of its own, as the engine's does, and with as many threads inside: on
a busy machine a main thread with more of them than there are free cores waits at their barriers,
and any comparison with it flatters the engine. With several threads there is another bare pass, in
lanes as the engine's: a loop per thread, which do not wait for each other. Seconds of CPU are given
beside those of the clock, since other work on the machine disturbs them less, and page faults,
which are what the setting saves.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
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
from rsmeta.malloc import malloc_environment
from rsmeta.models.build import build_network
from rsmeta.workflows.mapping.predict_scenes import predict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


@dataclass(frozen=True)
class Way:
    """One way to compute all tiles; each has a process of its own.

    Attributes:
        name: What it is called.
        lanes: Loops side by side, of the bare network; none: the whole way.
        as_ours: Whether glibc keeps freed memory and frozen layers are packed, as in
            ``rsmeta predict``; else they are torch's own.
    """

    name: str
    lanes: int | None = None
    as_ours: bool = True


@dataclass(frozen=True)
class Work:
    """What all ways compute.

    Attributes:
        scene: The scene's file.
        tiles: Tiles in it.
        backbone: Of the network.
        device: Where it is.
        threads: Of torch.
        batch: Tiles at once.
    """

    scene: Path
    tiles: int
    backbone: str
    device: str
    threads: int
    batch: int


@dataclass(frozen=True)
class Took:
    """What a pass took: seconds of the clock, of CPU and of each stage, and page faults."""

    clock_s: float
    cpu_s: float
    faults: int
    stages: dict[str, float]

    def __str__(self) -> str:
        return f"{self.clock_s:.2f} s, {self.cpu_s:.2f} s of CPU, {self.faults:,} faults"


@cache
def _network(work: Work, way: Way) -> ModelBundle:
    torch.set_num_threads(work.threads)
    bundle = make_bundle(work.backbone, work.batch)
    bundle.network.to(work.device).requires_grad_(not way.as_ours)  # what learns is not packed
    bare_seconds(bundle.network, 2 * work.batch, work.batch, work.device)  # warm
    return bundle


def passed(work: Work, way: Way) -> Took:
    """Compute all tiles once, in this process."""
    bundle, stages = _network(work, way), dict[str, float]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    started, cpu = time.perf_counter(), time.process_time()
    if way.lanes is None:
        (result,) = predict(
            work.scene, bundle, output=work.scene.with_name("map.tif"), if_exists="overwrite",
            execution=work.device,
        )  # fmt: skip
        stages = result.stages
    else:
        bare_seconds(bundle.network, work.tiles, work.batch, work.device, lanes=way.lanes)
    clock_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return Took(clock_s, cpu_s, faults, stages)


@contextmanager
def processes(ways: Sequence[Way], work: Work) -> Iterator[dict[Way, ProcessPoolExecutor]]:
    """Start a process per way, each with its network, and what its allocator is to do."""
    given = dict(os.environ)
    with ExitStack() as stack:
        found = {}
        for way in ways:
            kept = malloc_environment(given) if way.as_ours else {}
            os.environ.update(kept)
            found[way] = stack.enter_context(
                ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            )
            found[way].submit(_network, work, way)
            for name in kept:
                del os.environ[name]
        yield found


def main() -> None:
    """Print the rates of each round, and the stages of the last."""
    given = dict(enumerate(sys.argv[1:]))
    side_px, rounds = int(given.get(0, 1500)), int(given.get(1, 3))
    torch.set_num_threads(int(given.get(4, torch.get_num_threads())))
    threads = torch.get_num_threads()
    backbone, device = given.get(2, "vit_small_patch16_224"), given.get(3, "cpu")
    print(f"{backbone}, {side_px} x {side_px} px, {device}, {platform.machine()}, ")
    print(f"{threads} threads, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}")
    batch = int(given.get(5, 0)) or best_batch(make_bundle(backbone, 1).network.to(device), device)
    grid = Grid(None, Affine.identity(), side_px, side_px)
    plan = TilePlan(
        scene_grid=grid, extent=grid.full_window, tile_px=TILE_PX, overlap_px=OVERLAP_PX,
        block_px=side_px,
    )  # fmt: skip
    tiles = len(plan.row_starts) * len(plan.col_starts)
    lanes = sizing.choose_lanes(torch.device(device))
    whole = Way("whole")
    bare = [Way("bare, as torch is", 1, as_ours=False), Way("bare, with ours", 1)]
    if lanes > 1:
        bare.append(Way("bare, with ours, in lanes", lanes))
    took: dict[Way, list[Took]] = {way: [] for way in (*bare, whole)}
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder) / "scene.tif", tiles, backbone, device, threads, batch)
        make_scene(work.scene, side_px)
        with processes(list(took), work) as running:
            for number in range(rounds):
                print(f"round {number + 1}, {tiles} tiles:", flush=True)
                for way, process in running.items():
                    took[way].append(process.submit(passed, work, way).result())
                    print(f"  {way.name}: {took[way][-1]}", flush=True)
    print("s of the last round:", {name: round(s, 1) for name, s in took[whole][-1].stages.items()})
    for way in bare:
        for unit in ("clock_s", "cpu_s"):
            pairs = zip(took[way], took[whole], strict=True)
            found = [getattr(alone, unit) / getattr(all_, unit) for alone, all_ in pairs]
            print(f"{way.name} by whole, {unit}: {statistics.median(found):.3f}", end="")
            print(f" ({min(found):.3f} to {max(found):.3f})")


if __name__ == "__main__":
    main()
