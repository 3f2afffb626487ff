"""What commands need before they work: `rsmeta predict` and others against `import timm`.

    python benchmarks/bench_start.py [ROUNDS]

Fresh processes in turns, one thread each. `predict` runs the command line on a scene of one tile
with a ViT-S/16 bundle, and ends where the network would get its first tile; `train`, of the shipped
nano backbone on 1000 x 1000 labelled pixels, ends at the first training step; `train --dry-run` of
the same and `list` run to their end. Seconds of
CPU and of the clock since the process began, Python's own start included.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_predict import TILE_PX, make_bundle, make_scene
from train_inputs import write_scene

from rsmeta.bundle import save_bundle

_SAY = """
import os, resource, time
def say():
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, time.time() - float(os.environ["STARTED"]), flush=True)
"""
TIMM = f"{_SAY}\nimport timm\nsay()"
UNTIL = f"""{_SAY}
import sys
from importlib import import_module
from rsmeta_cli.main import main
before, module, owner, method, *words = sys.argv[1:]
def reached(*args):
    say()
    os._exit(0)
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == before:
            sys.meta_path.remove(self)
            setattr(getattr(import_module(module), owner), method, reached)
sys.meta_path.insert(0, Watch())
sys.argv = ["rsmeta", *words]
main()
"""
#: The module before whose import that function is replaced where measuring ends, and the function.
FIRST_TILE = ("rsmeta.inference.engine", "rsmeta.inference.scoring", "Scorer", "__call__")
FIRST_STEP = ("rsmeta.workflows.train", "rsmeta.training.module", "TaskModule", "training_step")
COMMAND = f"""{_SAY}
import sys
from rsmeta_cli.main import main
def leave(code, exit=os._exit):  # where threads are left
    say()
    exit(code)
os._exit = leave
sys.argv = ["rsmeta", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code
say()
"""
CONFIG = """
model: {backbone: satmae_vit_nano_group, pretrained: true}
tuner: lora
data:
  scenes: small.tif
  labels: "{stem}_labels.tif"
  ignore: 0
  classes: {1: a, 2: b, 3: c}
  scale: 1e-4
  chip_px: 32
"""


def seconds(code: str, *arguments: str) -> tuple[float, float]:
    """Run code in a fresh process; return what it says: seconds of CPU and of the clock."""
    start = subprocess.run(["date", "+%s.%N"], capture_output=True, text=True, check=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STARTED": start.stdout.strip()}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    cpu, clock = map(float, done.stdout.split()[-2:])
    return cpu, clock


def main() -> None:
    """Print the medians of each command, and of its ratios to `import timm` round by round."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_scene(root / "scene.tif", TILE_PX)
        write_scene(root / "small.tif", 1000)
        (root / "config.yaml").write_text(CONFIG, encoding="utf-8")
        bundle = make_bundle("vit_small_patch16_224", 1)
        save_bundle(root / "model", bundle.record, bundle.network)
        scene, model, output, run = (
            str(root / name) for name in ("scene.tif", "model", "map.tif", "run")
        )
        mapped = ("predict", scene, "--model", model, "--output", output)
        trained = ("train", str(root / "config.yaml"), f"data.root={root}")
        ways = {
            "import timm": (TIMM,),
            "predict, to the first tile": (UNTIL, *FIRST_TILE, *mapped),
            "train --dry-run": (COMMAND, *trained, "--dry-run"),
            "train, to the first step": (UNTIL, *FIRST_STEP, *trained, "--output", run),
            "list tuners": (COMMAND, "list", "tuners"),
            "list backbones": (COMMAND, "list", "backbones"),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, (code, *arguments) in ways.items():
                shutil.rmtree(run, ignore_errors=True)
                taken = seconds(code, *arguments)
                if turn:  # the first one fills the system's cache of files
                    found[name].append(taken)
    print("| | CPU, s | clock, s | CPU of `import timm` |")
    print("|---|---|---|---|")
    for name, times in found.items():
        cpu, clock = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(
            one[0] / timm[0] for one, timm in zip(times, found["import timm"], strict=True)
        )
        print(f"| {name} | {cpu:.2f} | {clock:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
