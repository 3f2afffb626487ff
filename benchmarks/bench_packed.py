"""Products by packed weights against torch's, layer by layer.

    OMP_NUM_THREADS=1 python benchmarks/bench_packed.py [THREADS]

Milliseconds of the clock, medians of turns: linear maps of 394 tokens, as two images of 224 px
have, and patch embeddings of such images, forward and with the step that trains them.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rsmeta.models.packed import pack_frozen

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 30
TOKENS = 394
MAPS = ((384, 1152), (384, 1536), (1536, 384), (768, 3072), (96, 768))
BANDS = (3, 13, 64)


def in_turns(*calls: Callable[[], object]) -> list[float]:
    """Return the median milliseconds of each call."""
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(TURNS + 2):
        for call, own in zip(calls, seconds, strict=True):
            begun = time.perf_counter()
            call()
            if turn > 1:
                own.append(time.perf_counter() - begun)
    return [1000 * statistics.median(own) for own in seconds]


def packed(layer: nn.Module) -> nn.Module:
    """Return the same layer as a network of rsmeta has it."""
    network = nn.Sequential(copy.deepcopy(layer))
    pack_frozen(network)
    return network


def is_steady(layer: nn.Module, x: Tensor) -> bool:
    """Return whether fewer tokens, or another thread, leave each token's result as it is."""
    whole, threads = layer(x), torch.get_num_threads()
    fewer = all(torch.equal(layer(x[:count]), whole[:count]) for count in (7, 49, 197, 393))
    torch.set_num_threads(3 - threads)
    same = torch.equal(layer(x), whole)
    torch.set_num_threads(threads)
    return fewer and same


def main() -> None:
    """Measure, and print two tables."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print("| weight, in x out | torch, ms | packed | largest difference | steady |")
    print("|---|---|---|---|---|")
    for width, out in MAPS:
        layer = nn.Linear(width, out).requires_grad_(False)
        other = packed(layer)
        x = torch.randn(TOKENS, width)
        plain, fast = in_turns(lambda: layer(x), lambda: other(x))  # noqa: B023 - called at once
        error = float((layer(x) - other(x)).abs().max())
        print(
            f"| {width} x {out} | {plain:.2f} | {fast:.2f} | {error:.0e} | {is_steady(other, x)} |"
        )
    print("\n| bands of 16-px patches | torch, ms | one product | learning | one product |")
    print("|---|---|---|---|---|")
    for bands in BANDS:
        layer = nn.Conv2d(bands, 384, 16, 16)
        other = packed(layer)
        x = torch.randn(2, bands, 224, 224)
        learning = in_turns(
            lambda: layer(x).sum().backward(),  # noqa: B023
            lambda: other(x).sum().backward(),  # noqa: B023
        )
        layer.requires_grad_(False)
        other.requires_grad_(False)
        frozen = in_turns(lambda: layer(x), lambda: other(x))  # noqa: B023
        cells = " | ".join(f"{ms:.1f}" for ms in (*frozen, *learning))
        print(f"| {bands} | {cells} |")


if __name__ == "__main__":
    main()
