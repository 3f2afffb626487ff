"""Whether another engine runs a network faster than torch: ONNX Runtime, OpenVINO, or bfloat16.

    python benchmarks/bench_onnx.py [ROUNDS] [BACKBONE:TILE_PX:BATCH ...]

Side by side in one run, in turns, one thread: milliseconds of CPU per tile, and the largest
difference of a probability from torch's float32. OpenVINO takes part if it is installed. The
networks have random weights, but for ``satmae_vit_nano_group``, which has its own, and no trained
head.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
from bench_predict import CLASSES, SENSOR

from rsmeta.config.model import ModelSpec
from rsmeta.config.tuner import TunerSpec
from rsmeta.inference.optimize import optimised
from rsmeta.malloc import keep_freed_memory
from rsmeta.models.build import build_network
from rsmeta.workflows.export_onnx import Standalone

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsmeta.models.network import Network

USUAL = (
    "satmae_vit_nano_group:32:32",
    "vit_small_patch16_224:224:2",
    "swin_tiny_patch4_window7_224:224:2",
)
CPU = torch.device("cpu")
MEAN, STD = 0.2, 0.1


def network_of(backbone: str) -> Network:
    """Return a network for Sentinel-2 with the head that training would give it."""
    torch.manual_seed(0)
    pretrained = backbone == "satmae_vit_nano_group"
    bands = SENSOR.select(("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"))
    return build_network(
        ModelSpec(backbone=backbone, pretrained=pretrained), TunerSpec(method="head"),
        bands=bands.bands, classes=CLASSES, mean=[MEAN] * 10, std=[STD] * 10,
    ).eval()  # fmt: skip


def exported(network: Network, example: torch.Tensor) -> bytes:
    """Return the network in ONNX form, for batches like an example."""
    bands = example.shape[1]
    model = Standalone(
        copy.deepcopy(network), torch.full((bands,), MEAN), torch.full((bands,), STD)
    )
    program = torch.onnx.export(
        model.eval(), (example,), dynamo=True, opset_version=18, verbose=False,
        input_names=["image"], output_names=["probabilities"],
    )  # fmt: skip
    assert program is not None
    return program.model_proto.SerializeToString()


def session_of(model: bytes) -> onnxruntime.InferenceSession:
    """Return a network as ONNX Runtime runs it: everything that it can fuse, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model, options)


def compiled(model: bytes) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a network as OpenVINO runs it, in float32; none where that is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    run = core.compile_model(core.read_model(model), "CPU", hints)
    return lambda image: run(image)[0]


def engines_of(backbone: str, tile_px: int, batch: int) -> dict[str, Callable[[], np.ndarray]]:
    """Return what computes the probabilities of one batch, by its name; the first is exact."""
    network, generator = network_of(backbone), torch.Generator().manual_seed(1)
    coarse = torch.randn(batch, 10, -(-tile_px // 8), -(-tile_px // 8), generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(tile_px, tile_px), mode="bilinear")
    valid = torch.ones(batch, tile_px, tile_px, dtype=torch.bool)
    softmax: Any = partial(torch.softmax, dim=1, dtype=torch.float32)
    model = exported(network, image)
    session, graph = session_of(model), compiled(model)
    physical = image * STD + MEAN
    models = [optimised(network, softmax, CPU, reduced=reduced) for reduced in (False, True)]
    engines = {
        "torch, float32": lambda: models[0](physical, valid).numpy(),
        "torch, bfloat16": lambda: models[1](physical, valid).numpy(),
        "ONNX Runtime": lambda: session.run(None, {"image": image.numpy()})[0],
    }
    return engines if graph is None else engines | {"OpenVINO": lambda: graph(image.numpy())}


def compare(backbone: str, tile_px: int, batch: int, rounds: int) -> None:
    """Print a row per engine."""
    engines = engines_of(backbone, tile_px, batch)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    with torch.inference_mode():
        found = {name: run() for name, run in engines.items()}
        for _ in range(rounds):
            for name, run in engines.items():
                started = time.process_time()
                run()
                taken[name].append(1e3 * (time.process_time() - started) / batch)
    exact = next(iter(found.values()))
    for name, times in taken.items():
        ratios = [t / own for t, own in zip(taken["torch, float32"], times, strict=True)]
        print(
            f"{backbone}, {tile_px} px | {name} | {statistics.median(times):.1f} | "
            f"{statistics.median(ratios):.2f} | {np.abs(found[name] - exact).max():.1e} | "
            f"{100 * (found[name].argmax(1) != exact.argmax(1)).mean():.2f} %",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(1)
    rounds, *given = sys.argv[1:] or ["9"]
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, one thread")
    print("network | engine | CPU ms per tile | times as fast | difference | classes changed")
    for one in given or USUAL:
        backbone, tile_px, batch = one.split(":")
        compare(backbone, int(tile_px), int(batch), int(rounds))


if __name__ == "__main__":
    main()
