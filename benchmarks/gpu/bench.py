"""What a GPU makes of rsmeta: one part of the measurements, its rows written as they come.

    python benchmarks/gpu/bench.py PART --output FOLDER [--work FOLDER] [--device auto] [--tiny]

``run.py`` runs all parts, each in a process of its own; ``--tiny`` is for rehearsing them on a CPU.
Parts: map-NAME (the network alone at its best batch, eager and as a CUDA graph; then the whole way
from a COG to a COG), ram, blending, train, meta, start, compiled.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the other benchmarks

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        side_px: Side of the scene.
        networks: Backbone by short name.
        batches: Batch sizes to choose from.
        seconds: How long one figure is measured at least.
        rounds: How many figures a median is of.
        train_batch: Images in a training step.
    """

    side_px: int
    networks: dict[str, str]
    batches: tuple[int, ...]
    seconds: float
    rounds: int
    train_batch: int


FULL = Sizes(
    side_px=10_980,
    networks={
        "vit-s": "vit_small_patch16_224",
        "vit-b": "vit_base_patch16_224",
        "vit-l": "vit_large_patch16_224",
        "satmae-l": "satmae_vit_l16_group",
    },
    batches=(16, 32, 64, 128, 256),
    seconds=0.5,
    rounds=3,
    train_batch=64,
)
TINY = Sizes(
    side_px=450,
    networks={
        "vit-s": "vit_tiny_patch16_224",
        "vit-b": "vit_tiny_patch16_224",
        "vit-l": "vit_tiny_patch16_224",
        "satmae-l": "satmae_vit_nano_group",
    },
    batches=(1, 2),
    seconds=0.0,
    rounds=1,
    train_batch=2,
)


@dataclass(frozen=True)
class Bench:
    """One part under way.

    Attributes:
        part: Its name.
        output: Where rows go.
        work: Where scenes are kept for the parts that follow.
        device: What is measured.
        sizes: How much.
        tiny: Whether this is a rehearsal.
    """

    part: str
    output: Path
    work: Path
    device: torch.device
    sizes: Sizes
    tiny: bool

    def row(self, what: str, value: float | None, unit: str, **more: Any) -> None:
        """Write one figure, at once: the next one may never come."""
        entry = {"part": self.part, "what": what, "value": value, "unit": unit, **more}
        with (self.output / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        shown = "-" if value is None else f"{value:.4g}"
        print(f"{self.part}: {what}: {shown} {unit} {more or ''}", flush=True)

    def rows(self) -> list[dict[str, Any]]:
        """Return everything written so far, by all parts."""
        path = self.output / "results.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def try_(self, what: str, work: Callable[[], None]) -> None:
        """Do something, and note its failure as a row: what follows is tried all the same."""
        try:
            work()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            self.row(what, None, "failed", error=said[:500])
        self.free()

    def wait(self) -> None:
        """Return when the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        """Give back the memory that the allocator keeps for later."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def time(self, work: Callable[[], Any], *, warm_up: int = 2) -> float:
        """Return the seconds that a call takes: the median of some rounds of many calls."""
        for _ in range(warm_up):
            work()
        self.wait()
        found = []
        for _ in range(self.sizes.rounds):
            calls, started = 0, time.perf_counter()
            while not calls or time.perf_counter() - started < self.sizes.seconds:
                for _ in range(1 if self.tiny else 5):
                    work()
                    calls += 1
                self.wait()
            found.append((time.perf_counter() - started) / calls)
        return sorted(found)[len(found) // 2]


def parts() -> dict[str, Callable[[Bench], None]]:
    """Return what can be measured, by name, in the order of its worth."""
    import learning  # beside this script
    import mapping

    networks = {f"map-{name}": partial(mapping.network, name=name) for name in FULL.networks}
    first = ("map-vit-b", "map-vit-l")
    return {
        **{name: networks[name] for name in first},
        "train": learning.training,
        "blending": mapping.blending,
        "ram": mapping.from_memory,
        "meta": learning.meta,
        **{name: work for name, work in networks.items() if name not in first},
        "start": mapping.start_up,
        "compiled": mapping.compiled,
    }


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = parts()
    parser.add_argument("part", choices=known)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="for scenes; default: the output's folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    name = given.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    work = given.work or given.output
    for folder in (given.output, work):
        folder.mkdir(parents=True, exist_ok=True)
    sizes = TINY if given.tiny else FULL
    bench = Bench(given.part, given.output, work, torch.device(name), sizes, given.tiny)
    torch.manual_seed(0)
    known[given.part](bench)


if __name__ == "__main__":
    main()
