"""What a gigapixel costs, stage by stage, and what many workers make of it.

    python benchmarks/bench_scale.py measure [SIDE_PX]
    python benchmarks/bench_scale.py check [SIDE_PX] [WORKERS ...]

``measure`` prints seconds of CPU and bytes per gigapixel of every stage, one thread, and with them
the model of ``docs/scale.md``: how long 1, 8 and 64 workers take for a scene of 100 000 x 100 000
pixels. ``check`` maps a small scene with processes of this machine, and compares the time per block
with the model's; set OMP_NUM_THREADS=1, so that each process has one core. Seconds of CPU barely
depend on what else the machine does; those of ``check``, by the clock, do.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_predict
import numpy as np
import torch
from bench_predict import CLASSES, OVERLAP_PX, TILE_PX, make_bundle, make_scene

from rsmeta.bundle import load_bundle, save_bundle
from rsmeta.geo.tiling import TilePlan
from rsmeta.gis.outputs.products import Products
from rsmeta.gis.outputs.raster_spec import MapSpec
from rsmeta.gis.outputs.rasters import writing
from rsmeta.inference.engine import Engine
from rsmeta.inference.reading import SceneReader, read_blocks
from rsmeta.malloc import keep_freed_memory
from rsmeta.workflows.mapping.clusters import processes
from rsmeta.workflows.mapping.executors import Execution, made_block
from rsmeta.workflows.mapping.predict_scenes import predict
from rsmeta.workflows.mapping.request import open_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from rsmeta.bundle import ModelBundle
    from rsmeta.geo.scene import Scene

GIGA = 1e9
BLOCK_PX = 1024
BATCH = 2
#: An object store, for all that one worker reads.
STORE_BYTES_PER_S = 100e6
SCENE_PX = 100_000.0**2
WORKERS = (1, 8, 64)
#: How long workers take, as shares of one core: for the network, and for everything beside it.
SPEEDS = {
    "one core": (1.0, 1.0), "eight cores": (1 / 8, 1 / 8), "a GPU, 16 cores": (1 / 500, 1 / 16),
}  # fmt: skip


@dataclass(frozen=True)
class Stages:
    """Seconds of CPU, and bytes, per gigapixel.

    Attributes:
        reading: Inflating the file, physical values.
        network: The network by itself.
        blending: Copies of tiles, weighted sums.
        making: Classes of pixels, their areas.
        task: Of the scheduler and the client that takes the blocks, all together.
        writing: Blocks deflated and on the disk.
        finishing: The cloud-optimised GeoTIFF with overviews, read back.
        bytes_read: Of the compressed scene.
        bytes_written: Of the blocks as they are sent.
    """

    reading: float
    network: float
    blending: float
    making: float
    task: float
    writing: float
    finishing: float
    bytes_read: float
    bytes_written: float

    def seconds(
        self, workers: int, *, speed: tuple[float, float], pixels: float
    ) -> dict[str, float]:
        """Return how long a scene takes, by what takes it.

        Workers compute side by side, each reads ahead; one process takes their blocks and writes
        them meanwhile, and makes the map from them at the end. In parts, each has a file of its
        own.

        Args:
            workers: How many.
            speed: How long one takes for the network, and for what it does beside, as shares of
                one core.
            pixels: Of the scene.
        """
        size = pixels / GIGA
        beside = self.reading + self.blending + self.making
        own = self.network * speed[0] + beside * speed[1]
        store = self.bytes_read / STORE_BYTES_PER_S
        computing = max(own, store) * size / workers
        taking = (self.task + self.writing) * size
        finishing = self.finishing * size
        own_file = (self.writing + self.finishing) * size / workers
        return {
            "computing": computing, "taking": taking, "finishing": finishing,
            "all": max(computing, taking) + finishing, "in parts": computing + own_file,
        }  # fmt: skip


class Ready:
    """A model that has its scores already."""

    def __init__(self) -> None:
        self._scores = torch.rand(BATCH, CLASSES, TILE_PX, TILE_PX).softmax(1)

    def __call__(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return the first scores (B, K, h, w)."""
        return self._scores[: len(image)]


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of CPU that a function takes in all threads, and what it returns."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def measured(side_px: int) -> Stages:
    """Measure every stage by itself on a scene of noise, which deflates to 0.86 of its size."""
    giga = side_px**2 / GIGA
    bundle = make_bundle("vit_small_patch16_224", BATCH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_scene(folder / "scene.tif", side_px)
        scene = open_for(folder / "scene.tif", bundle.record)
        plan = TilePlan(
            scene_grid=scene.grid, extent=scene.grid.full_window, tile_px=TILE_PX,
            overlap_px=OVERLAP_PX, block_px=BLOCK_PX,
        )  # fmt: skip
        reading, _ = cpu(lambda: [None for _ in _read(scene, plan)])
        engine = Engine(Ready(), scores=CLASSES, batch_size=BATCH)
        engine_s, blocks = cpu(lambda: list(engine.run(plan, plan.blocks(), scene)))
        making, writing_s, finishing, sent = _written(folder, bundle, plan, blocks)
        bytes_read = (folder / "scene.tif").stat().st_size
    tiles = sum(block.tiles for block in blocks)
    bench_predict.bare_seconds(bundle.network, 4, BATCH, "cpu")  # warm
    network = bench_predict.bare_seconds(bundle.network, 16, BATCH, "cpu")[1] / 16
    return Stages(
        reading=reading / giga, network=network * tiles / giga,
        blending=max(engine_s - reading, 0) / giga, making=making / giga,
        task=_task_seconds() * GIGA / BLOCK_PX**2, writing=writing_s / giga,
        finishing=finishing / giga, bytes_read=bytes_read / giga, bytes_written=sent / giga,
    )  # fmt: skip


def _read(scene: Scene, plan: TilePlan) -> Iterator[object]:
    strips = plan.strips(plan.blocks(), blocks_wide=100)
    yield from read_blocks(SceneReader(scene), plan, strips)


def _written(
    folder: Path, bundle: ModelBundle, plan: TilePlan, blocks: list[Any]
) -> tuple[float, float, float, int]:
    """Return seconds of making, writing and finishing the map, and the bytes of its blocks."""
    record = bundle.record
    spec = MapSpec(record.output, record.classes, {})
    products = Products(folder / "map.tif")
    with writing(products, plan.grid, spec, resume_fingerprint={}) as writer:
        making, made = cpu(lambda: [made_block(writer.maker, block) for block in blocks])
        taking, _ = cpu(lambda: [writer.write(block) for block in made])
        finishing, _ = cpu(writer.complete)
    return making, taking, finishing, sum(block.arrays["map"].nbytes for block in made)


def _task(_: int) -> np.ndarray:
    return np.zeros((1, BLOCK_PX, BLOCK_PX), np.uint8)


def _task_seconds(count: int = 200) -> float:
    """Return what a task costs the process that schedules, and takes a block of classes."""
    with processes(1, ()) as client:
        client.gather(client.map(_task, range(10), pure=False))
        seconds, _ = cpu(lambda: client.gather(client.map(_task, range(count), pure=False)))
    return seconds / count


def tell(stages: Stages) -> None:
    """Print the stages and what the model makes of them."""
    print(json.dumps({name: round(value, 2) for name, value in vars(stages).items()}))
    for name, speed in SPEEDS.items():
        for workers in WORKERS:
            found = stages.seconds(workers, speed=speed, pixels=SCENE_PX)
            row = ", ".join(f"{what} {seconds / 60:.1f} min" for what, seconds in found.items())
            print(f"{name} x {workers}: {row}")


def check(side_px: int, counts: list[int]) -> None:
    """Map a scene with processes of this machine; print what it takes, and what the model says.

    A small network and small blocks, so that there are many; the processes' own start is what
    mapping takes beside the model's seconds.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_bundle("vit_tiny_patch16_224", BATCH)
        save_bundle(folder / "bundle", made.record, made.network)
        make_scene(folder / "scene.tif", side_px)
        bundle = load_bundle(folder / "bundle")
        bench_predict.bare_seconds(bundle.network, 4, BATCH, "cpu")  # warm
        tile_s = bench_predict.bare_seconds(bundle.network, 16, BATCH, "cpu")[1] / 16
        for workers in counts:
            before = _children_seconds()
            arrived: list[float] = []
            (result,) = predict(
                folder / "scene.tif", bundle, output=folder / "map.tif", if_exists="overwrite",
                execution=Execution("cpu", workers=workers), settings=["block_px=512"],
                on_progress=lambda _, arrived=arrived: arrived.append(time.perf_counter()),
            )  # fmt: skip
            print(
                f"{workers} workers: {result.seconds:.1f} s by the clock, "
                f"{arrived[-1] - arrived[0]:.1f} s from the first block to the last of "
                f"{len(arrived)}; {_children_seconds() - before:.1f} s of CPU in the workers, of "
                f"which the network {result.tiles * tile_s:.1f} s ({result.tiles} tiles); writing "
                f"{result.stages['writing']:.2f} s, finishing {result.stages['finishing']:.2f} s",
                flush=True,
            )


def _children_seconds() -> float:
    """Return the seconds of CPU of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run what is asked for."""
    what, *given = sys.argv[1:] or ["measure"]
    keep_freed_memory()  # as the command line does
    if what == "check":
        side_px, *counts = [int(word) for word in given] or [2048]
        check(side_px, counts or [1, 2, 4])
        return
    torch.set_num_threads(1)
    tell(measured(int(given[0]) if given else 3072))


if __name__ == "__main__":
    main()
