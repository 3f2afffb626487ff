"""An error in the middle of a slow batch: one line, the status, and no crash of the process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import TinyRun

#: The network gets slow after some batches, as inside torch as a real one; then the disk is full.
SLOW = """
import sys, time
from rsmeta.geo import writer
from rsmeta.inference import pipeline
from rsmeta.inference import model

pipeline._PATIENCE_S = 0.2
batches, quick = 0, model.optimised

def slow(*given, **options):
    model = quick(*given, **options)

    def run(image, valid):
        global batches
        batches += 1
        end = time.monotonic() + (0 if batches < 5 else {seconds})
        while time.monotonic() < end:
            image @ image
        return model(image, valid)

    return run

def full(path):
    if path.suffix != ".part":
        return
    while batches < 5:
        time.sleep(0.01)
    {error}

model.optimised = slow
writer.to_disk = full
"""

FULL = "raise OSError(28, 'No space left on device')"

AS_COMMAND = """
from rsmeta_cli.main import main
main()
"""

AS_LIBRARY = """
import rsmeta
from rsmeta.errors import RsmetaError

scene, bundle, output = sys.argv[2], sys.argv[4], sys.argv[6]
try:
    rsmeta.predict([scene], bundle, output=output, settings=["block_px=32", "batch_size=1"])
except RsmetaError as error:
    sys.exit(f"rsmeta: {error}")
"""


def run(program: str, tiny_run: TinyRun, output: Path) -> subprocess.CompletedProcess[str]:
    words = (
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", output,
        "--set", "block_px=32", "--set", "batch_size=1",
    )  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, timeout=25, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("program", "seconds"), [(AS_COMMAND, 120), (AS_LIBRARY, 4)], ids=["command", "library"]
)
def test_an_error_in_a_slow_batch_ends_the_process_with_its_status(
    tiny_run: TinyRun, tmp_path: Path, program: str, seconds: int
) -> None:
    """The command does not even wait for the batch; who imports rsmeta may be kept by it."""
    before = SLOW.format(seconds=seconds, error=FULL)
    ended = run(before + program, tiny_run, tmp_path / "m.tif")
    assert ended.returncode == 1, ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("rsmeta: ")
    assert "No space left on device" in last
    assert "Traceback" not in ended.stderr


def test_an_interrupt_in_a_slow_batch_ends_the_process_with_its_status(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    before = SLOW.format(seconds=120, error="raise KeyboardInterrupt")
    ended = run(before + AS_COMMAND, tiny_run, tmp_path / "m.tif")
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("rsmeta: interrupted")
