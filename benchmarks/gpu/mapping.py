"""Mapping: the network alone against the whole way, and what lies between them."""

from __future__ import annotations

import contextlib
import copy
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_start
import numpy as np
import rasterio
import torch
from bench_predict import CLASSES, OVERLAP_PX, SENSOR, TILE_PX, make_bundle

from rsmeta.bundle import save_bundle
from rsmeta.inference import sizing
from rsmeta.inference.optimize import optimised
from rsmeta.workflows.mapping.predict_array import predict_array
from rsmeta.workflows.mapping.predict_scenes import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench import Bench
    from torch import Tensor, nn

    from rsmeta.bundle import ModelBundle
    from rsmeta.inference.scoring import Model

SOFTMAX = partial(torch.softmax, dim=1, dtype=torch.float32)
BFLOAT16 = "precision=bfloat16"
#: Parts of the scene that a warm-up maps: a row of blocks would not fit into the time.
WARM_UP_PX = 1024


def network(bench: Bench, name: str) -> None:
    """Measure one network by itself, then the whole way with its best batch."""
    backbone = bench.sizes.networks[name]
    bundle = make_bundle(backbone, bench.sizes.batches[0])
    net = bundle.network.eval().to(bench.device)
    model = optimised(net, SOFTMAX, bench.device, reduced=True)
    rates: dict[int, float] = {}
    for batch in bench.sizes.batches:
        bench.try_("bare, eager", partial(_eager, bench, model, batch, rates))
    best = max(rates, key=lambda size: rates[size])
    bench.row("best batch", best, "tiles")
    bench.row("bare, best", rates[best], "tiles/s")
    light = copy.deepcopy(net)
    for half in (light.backbone, light.head):  # the normalisation stays exact
        half.to(torch.bfloat16)
    kept_light = optimised(light, SOFTMAX, bench.device, reduced=True)
    bench.try_("bare, weights in bf16", partial(_light_row, bench, kept_light, best))
    del light, kept_light
    if bench.device.type == "cuda":
        bench.try_("bare, CUDA graph", partial(_graph_row, bench, model, best))
    for turn in range(2):
        bench.try_("whole way", partial(_whole_way, bench, bundle, best, rates[best], turn))


def _eager(bench: Bench, model: Model, batch: int, rates: dict[int, float]) -> None:
    rates[batch] = _bare(bench, model, batch)
    bench.row("bare, eager", rates[batch], "tiles/s", batch=batch)


def _light_row(bench: Bench, model: Model, batch: int) -> None:
    bench.row("bare, weights in bf16", _bare(bench, model, batch), "tiles/s", batch=batch)


def _bare(bench: Bench, model: Model, batch: int) -> float:
    """Return tiles per second of a network by itself."""
    with torch.inference_mode():
        return batch / bench.time(partial(model, *_tiles(bench, batch)))


def _tiles(bench: Bench, batch: int) -> tuple[Tensor, Tensor]:
    image = torch.rand(batch, len(SENSOR.bands), TILE_PX, TILE_PX, device=bench.device) * 0.4
    return image, torch.ones(batch, TILE_PX, TILE_PX, dtype=torch.bool, device=bench.device)


def _graph_row(bench: Bench, model: Model, batch: int) -> None:
    with torch.inference_mode():
        replay = _captured(bench, model, *_tiles(bench, batch))
        rate = batch / bench.time(replay)
    bench.row("bare, CUDA graph", rate, "tiles/s", batch=batch)


def _captured(bench: Bench, model: Model, image: Tensor, valid: Tensor) -> Callable[[], None]:
    """Return what replays one batch as a CUDA graph; checked to compute the same."""
    side = torch.cuda.Stream(bench.device)
    side.wait_stream(torch.cuda.current_stream(bench.device))
    with torch.cuda.stream(side):  # nothing is set up for the first time while it is recorded
        for _ in range(3):
            expected = model(image, valid)
    torch.cuda.current_stream(bench.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        scores = model(image, valid)
    graph.replay()
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-3)
    return graph.replay


def _whole_way(bench: Bench, bundle: ModelBundle, batch: int, bare: float, turn: int) -> None:
    """Map the scene from file to file; the first turn warms up on a part of it."""
    side = bench.sizes.side_px if turn else min(WARM_UP_PX, bench.sizes.side_px)
    with tempfile.TemporaryDirectory(dir=bench.work) as folder, _busy(bundle, bench) as busy:
        (result,) = predict(
            scene_of(bench, side), bundle, output=Path(folder) / "map.tif",
            execution=str(bench.device), settings=[BFLOAT16, f"batch_size={batch}"],
        )  # fmt: skip
    if turn:
        rate = result.tiles / result.seconds
        bench.row(
            "whole way", rate, "tiles/s", of_bare=rate / bare, tiles=result.tiles,
            seconds=result.seconds, block_px=result.block_px, batch=batch,
            stages={name: round(seconds, 3) for name, seconds in result.stages.items()},
        )  # fmt: skip
        if busy:
            idle = 1 - sum(busy) / result.seconds
            bench.row("whole way: the device waits", idle, "of the time")


@contextlib.contextmanager
def _busy(bundle: ModelBundle, bench: Bench) -> Iterator[list[float]]:
    """Give a list that in the end holds the seconds of each forward pass, as the device saw it."""
    seconds: list[float] = []
    if bench.device.type != "cuda":
        yield seconds
        return
    begun: list[torch.cuda.Event] = []
    ended: list[torch.cuda.Event] = []

    def mark(events: list[torch.cuda.Event]) -> None:
        events.append(torch.cuda.Event(enable_timing=True))
        events[-1].record()

    hooks = (
        bundle.network.register_forward_pre_hook(lambda *_: mark(begun)),
        bundle.network.register_forward_hook(lambda *_: mark(ended)),
    )
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()
    bench.wait()
    seconds += [a.elapsed_time(b) / 1e3 for a, b in zip(begun, ended, strict=True)]


def scene_of(bench: Bench, side_px: int) -> Path:
    """Return a scene of noise; the first to ask makes it."""
    path = bench.work / f"scene_{side_px}.tif"
    if not path.exists():
        started = time.perf_counter()
        partial_path = path.with_suffix(".partial.tif")
        _make_cog(partial_path, side_px)
        partial_path.replace(path)
        seconds = time.perf_counter() - started
        bench.row("scene made", seconds, "s", side_px=side_px, bytes=path.stat().st_size)
    return path


def _make_cog(path: Path, side_px: int) -> None:
    """Write a COG of one piece of noise over and over, deflated on all cores."""
    noise = np.random.default_rng(0).integers(1, 4000, (len(SENSOR.bands), 512, 512), np.uint16)
    times = -(-side_px // 512)
    with rasterio.open(
        path, "w", driver="COG", width=side_px, height=side_px, count=len(SENSOR.bands),
        dtype="uint16", crs="EPSG:32633", nodata=0, compress="deflate", blocksize=512,
        transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10), overviews="none",
        num_threads="all_cpus", bigtiff="yes",
    ) as file:  # fmt: skip
        file.descriptions = tuple(band.name for band in SENSOR.bands)
        for index, band in enumerate(noise, 1):
            file.write(np.tile(band, (times, times))[:side_px, :side_px], index)


def from_memory(bench: Bench) -> None:
    """Map an array in RAM: what reading and inflating a file takes is left out."""
    import rioxarray  # noqa: F401 - gives arrays their accessor ``rio``
    import xarray as xr

    bundle = make_bundle(bench.sizes.networks["vit-b"], 1)
    batch = _known(bench, "map-vit-b", "best batch") or bench.sizes.batches[-1]
    side = bench.sizes.side_px
    noise = np.random.default_rng(0).integers(1, 4000, (len(SENSOR.bands), 512, 512), np.uint16)
    times = -(-side // 512)
    array = xr.DataArray(
        np.tile(noise, (1, times, times))[:, :side, :side], dims=("band", "y", "x"),
        coords={
            "band": [band.name for band in SENSOR.bands],
            "y": 5e6 - 10 * (np.arange(side) + 0.5), "x": 5e5 + 10 * (np.arange(side) + 0.5),
        },
    ).rio.write_crs("EPSG:32633").rio.write_nodata(0)  # fmt: skip
    settings = [BFLOAT16, f"batch_size={int(batch)}"]
    part = min(WARM_UP_PX, side)
    for turn in range(2):
        mapped = array if turn else array[:, :part, :part]
        started = time.perf_counter()
        predict_array(mapped, bundle, device=str(bench.device), settings=settings)
        seconds = time.perf_counter() - started
    bare = _known(bench, "map-vit-b", "bare, best")
    tiles = _tiles_of(side)
    more = {"of_bare": tiles / seconds / bare} if bare else {}
    bench.row("array in RAM to array, ViT-B", tiles / seconds, "tiles/s", seconds=seconds, **more)


def _tiles_of(side_px: int) -> int:
    per_side = 1 + -(-max(side_px - TILE_PX, 0) // (TILE_PX - OVERLAP_PX))
    return per_side**2


def _known(bench: Bench, part: str, what: str) -> float | None:
    """Return a figure that an earlier part has measured."""
    found = [row["value"] for row in bench.rows() if (row["part"], row["what"]) == (part, what)]
    return found[-1] if found else None


class ReadyScores(torch.nn.Module):
    """A network that has its scores already: all that is left is what lies around it."""

    def __init__(self, like: nn.Module, scores: Tensor) -> None:
        super().__init__()
        self.like = like  # parameters, for whoever asks where they are
        self.register_buffer("scores", scores)

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return the first scores (B, K, h, w)."""
        return self.scores[: len(image)]


def blending(bench: Bench) -> None:
    """Time everything but the network, blending on the device and in main memory."""
    batch = bench.sizes.batches[-1]
    bundle = make_bundle(bench.sizes.networks["vit-s"], batch)
    scores = torch.rand(batch, CLASSES, TILE_PX, TILE_PX)
    ready = type(bundle)(bundle.record, ReadyScores(bundle.network, scores))
    chosen = sizing.choose_blending
    places = [torch.device("cpu")] + [bench.device] * (bench.device.type == "cuda")
    for place in places:
        sizing.choose_blending = lambda *_, place=place: place
        try:
            bench.try_(f"blending on {place.type}", partial(_around, bench, ready, place))
        finally:
            sizing.choose_blending = chosen


def _around(bench: Bench, bundle: ModelBundle, place: torch.device) -> None:
    for turn in range(2):
        side = bench.sizes.side_px if turn else min(WARM_UP_PX, bench.sizes.side_px)
        with tempfile.TemporaryDirectory(dir=bench.work) as folder:
            (result,) = predict(
                scene_of(bench, side), bundle, output=Path(folder) / "map.tif",
                execution=str(bench.device), settings=[f"batch_size={bench.sizes.batches[-1]}"],
            )  # fmt: skip
    bench.row(
        f"all but the network, blending on {place.type}", result.tiles / result.seconds, "tiles/s",
        seconds=result.seconds, block_px=result.block_px,
        stages={name: round(seconds, 3) for name, seconds in result.stages.items()},
    )  # fmt: skip


def start_up(bench: Bench) -> None:
    """Time fresh processes: ``import timm``, and ``rsmeta predict`` before its first tile."""
    scene, model = scene_of(bench, TILE_PX), bench.work / "start_model"
    if not model.exists():
        bundle = make_bundle(bench.sizes.networks["vit-s"], 1)
        save_bundle(model, bundle.record, bundle.network)
    words = ["predict", str(scene), "--model", str(model), "--device", str(bench.device)]
    words += ["--output", str(bench.work / "start.tif"), "--overwrite"]
    timm, first = [], []
    for _ in range(bench.sizes.rounds):
        timm.append(bench_start.seconds(bench_start.TIMM)[1])
        told = bench_start.seconds(bench_start.UNTIL, *bench_start.FIRST_TILE, *words)
        first.append(told[1])
    bench.row("import timm", statistics.median(timm), "s")
    bench.row("rsmeta predict until the first tile", statistics.median(first), "s")


def compiled(bench: Bench) -> None:
    """Compile the networks and measure them; last, because the compiler takes its time."""
    for name in ("vit-b", "vit-l"):
        bench.try_(f"{name}, compiled", partial(_compiled, bench, name))


def _compiled(bench: Bench, name: str) -> None:
    batch = int(_known(bench, f"map-{name}", "best batch") or bench.sizes.batches[-1])
    net: Any = make_bundle(bench.sizes.networks[name], batch).network.eval().to(bench.device)
    how: dict[str, Any] = {"backend": "eager"} if bench.tiny else {}
    model = optimised(torch.compile(net, **how), SOFTMAX, bench.device, reduced=True)
    image, valid = _tiles(bench, batch)
    with torch.inference_mode():
        started = time.perf_counter()
        model(image, valid)
        bench.wait()
        first = time.perf_counter() - started
        rate = batch / bench.time(partial(model, image, valid))
    bench.row(f"{name}: bare, compiled", rate, "tiles/s", batch=batch, first_batch_s=first)
