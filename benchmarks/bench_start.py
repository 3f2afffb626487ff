"""What comes before the first tile: `rsmeta predict` against `import timm`.

    python benchmarks/bench_start.py [ROUNDS]

Fresh processes in turns, one thread each. The second one runs the command line on a scene of one
tile with a ViT-S/16 bundle, and ends where the network would get its first tile. Seconds of CPU and
of the clock since the process began, Python's own start included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_predict import TILE_PX, make_bundle, make_scene

from rsmeta.bundle import save_bundle

_SAY = """
import os, resource, time
def say():
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, time.time() - float(os.environ["STARTED"]), flush=True)
"""
TIMM = f"{_SAY}\nimport timm\nsay()"
PREDICT = f"""{_SAY}
import sys
from rsmeta_cli.main import main
import rsmeta
def first_tile(*args):
    say()
    os._exit(0)
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "rsmeta.inference.engine":
            sys.meta_path.remove(self)
            from rsmeta.inference.scoring import Scorer
            Scorer.__call__ = first_tile
sys.meta_path.insert(0, Watch())
sys.argv = ["rsmeta", "predict", *sys.argv[1:]]
main()
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
    """Print each round, and the median of their ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        scene, model = Path(folder) / "scene.tif", Path(folder) / "model"
        make_scene(scene, TILE_PX)
        bundle = make_bundle("vit_small_patch16_224", 1)
        save_bundle(model, bundle.record, bundle.network)
        arguments = [str(scene), "--model", str(model), "--output", str(Path(folder) / "map.tif")]
        for turn in range(rounds + 1):
            timm, predict = seconds(TIMM), seconds(PREDICT, *arguments)
            if turn:  # the first one fills the system's cache of files
                ratios.append(predict[0] / timm[0])
                print(
                    f"import timm {timm[0]:.2f} s of CPU, {timm[1]:.2f} s; before the first tile "
                    f"{predict[0]:.2f} s of CPU, {predict[1]:.2f} s; ratio of CPU {ratios[-1]:.3f}",
                    flush=True,
                )
    print(f"median ratio of CPU {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
