"""What each adapter reaches on the sample transfer task, beside what it learns.

The head sees the backbone's maps alone (``skip: false``), so that the adapters have the work:

    python benchmarks/bench_adapter_transfer.py [SEEDS] [STEPS] [TUNER ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from transfer import HEADER, landsat, machine, row

from rsmeta.config.load import preset_names


def main() -> None:
    """Print the table, method by method."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    tuners = sys.argv[3:] or [*preset_names("tuner"), "[lora, ln]"]
    print(f"{machine()}; {steps} steps of 16 chips, {seeds} seeds\n\n{HEADER}")
    with tempfile.TemporaryDirectory() as folder:
        task = landsat(Path(folder))
        for tuner in tuners:
            print(
                row(f"`{tuner}`", task, seeds, steps, f"tuner={tuner}",
                    "model.head={name: fpn, skip: false}"),
                flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
