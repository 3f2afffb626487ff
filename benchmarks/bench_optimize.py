"""What makes a network faster on this machine, and how far its probabilities move.

    python benchmarks/bench_optimize.py [BACKBONE] [DEVICE] [ROUNDS] [THREADS]

Side by side in one run, in turns; seconds of CPU per tile (of the clock on a GPU), the largest
difference of a probability, and the share of pixels whose class changes. Weights are random, so
that many classes are nearly tied: those of a trained network change less often.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING

import torch
from bench_predict import TILE_PX, make_bundle

from rsmeta.inference.optimize import optimised

if TYPE_CHECKING:
    from rsmeta.inference.scoring import Model

BATCH = 4

#: What scores mean.
SOFTMAX = partial(torch.softmax, dim=1, dtype=torch.float32)


def variants(backbone: str, device: torch.device) -> dict[str, Model]:
    """Return the models to compare; the first is the reference."""
    network = make_bundle(backbone, BATCH).network.eval().to(device)
    found = {
        "float32 (level 0)": optimised(network, SOFTMAX, device),
        "bfloat16 (level 1)": optimised(network, SOFTMAX, device, reduced=True),
        "bfloat16, compiled": optimised(
            torch.compile(copy.deepcopy(network)), SOFTMAX, device, reduced=True
        ),
        "float32, compiled": optimised(torch.compile(copy.deepcopy(network)), SOFTMAX, device),
        "float32, channels last": optimised(
            copy.deepcopy(network).to(memory_format=torch.channels_last), SOFTMAX, device
        ),
    }
    if device.type == "cpu":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.ao, in favour of torchao
            quantised = torch.ao.quantization.quantize_dynamic(
                copy.deepcopy(network), {torch.nn.Linear}, dtype=torch.qint8
            )
        found["int8 linear layers"] = optimised(quantised, SOFTMAX, device)
    return found


def clock(device: torch.device) -> float:
    """Return seconds of CPU; on a GPU of the clock, once it has done all work."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


@torch.inference_mode()
def main() -> None:
    """Print a table."""
    given = dict(enumerate(sys.argv[1:]))
    backbone, device = given.get(0, "vit_small_patch16_224"), torch.device(given.get(1, "cpu"))
    torch.set_num_threads(int(given.get(3, torch.get_num_threads())))
    torch.manual_seed(0)
    image = torch.rand(BATCH, 13, TILE_PX, TILE_PX, device=device) * 0.4
    valid = torch.ones(BATCH, TILE_PX, TILE_PX, dtype=torch.bool, device=device)
    models = variants(backbone, device)
    first, seconds = {}, {name: [] for name in models}
    scores = {}
    for name, model in models.items():
        started = clock(device)
        scores[name] = model(image, valid)
        first[name] = clock(device) - started
    for _ in range(int(given.get(2, 5))):
        for name, model in models.items():
            started = clock(device)
            model(image, valid)
            seconds[name].append((clock(device) - started) / BATCH)
    reference = next(iter(scores.values()))
    print(f"{backbone}, {device}, torch {torch.__version__}, batches of {BATCH}")
    print("| | s per tile | first batch, s | largest difference | classes changed |")
    print("|---|---|---|---|---|")
    for name, found in scores.items():
        away = (found - reference).abs().max().item()
        changed = (found.argmax(1) != reference.argmax(1)).float().mean().item()
        median = statistics.median(seconds[name])
        print(f"| {name} | {median:.3f} | {first[name]:.1f} | {away:.1e} | {changed:.2%} |")


if __name__ == "__main__":
    main()
