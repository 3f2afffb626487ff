"""Run the shipped experiments on the real scenes they are for, and print what they reach.

Each is trained as its configuration says, maps its scene, and is compared with its labels.
Needs the public data named in ``configs/experiments/*.yaml``, in one folder each:

    python benchmarks/bench_experiments.py [DATA_FOLDER] [EXPERIMENT ...]
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

import rsmeta

ROOT = Path(__file__).resolve().parents[1]

#: Folder of each experiment's data, and the scene that it maps.
EXPERIMENTS = {
    "cloudmask": ("cloudmask", "sentinel2.tif"),
    "slovenia": ("slovenia_s2", "scene_4.tif"),
    "beaufort": ("beaufort_s2", "scene.tif"),
}


def run(name: str, data: Path, output: Path) -> str:
    """Train and map one experiment; return its row of the table."""
    folder, scene = EXPERIMENTS[name]
    config = ROOT / "configs" / "experiments" / f"{name}.yaml"
    trained = rsmeta.train(config, [f"data.root={data / folder}"], output=output / name)
    started = time.monotonic()
    rsmeta.predict(data / folder / scene, trained.bundle, output=output / f"{name}.tif")
    mapped = time.monotonic() - started
    part = "test" if "test" in trained.metrics else "validation"
    scores = trained.metrics[part]
    f1 = ", ".join(
        f"{label} {entry['f1']:.2f}"
        for label, entry in scores["classes"].items()
        if entry["f1"] is not None
    )
    cells = [
        name, part, str(trained.metrics["steps"]), f"{trained.metrics['seconds'] / 60:.1f}",
        f"{scores['accuracy']:.3f}", f"{scores['miou']:.3f}", f1, f"{mapped:.0f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the experiments whose data are there."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    chosen = sys.argv[2:] or [n for n, (f, _) in EXPERIMENTS.items() if (data / f).is_dir()]
    if not chosen:
        print(f"no data in {data}; nothing to run")
        return
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ")
    print(f"{datetime.now(UTC):%Y-%m-%d}\n")
    print("| experiment | part | steps | training, min | accuracy | mIoU | F1 | mapping, s |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as output:
        for name in chosen:
            print(run(name, data, Path(output)), flush=True)


if __name__ == "__main__":
    main()
