"""``python -m rsmeta.sample_data FOLDER``: write the landscape and name the files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rsmeta.sample_data.landscape import SENSORS, make_landscape


def main(arguments: list[str]) -> int:
    """Write the landscape; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rsmeta.sample_data",
        description="Write a made-up landscape: scenes, labels, polygons.",
    )
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--sensor", choices=SENSORS, default="sentinel2", help="who looks at it")
    parser.add_argument("--places", type=int, help="how many to draw; else west and east")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same pixels")
    try:
        given = parser.parse_args(arguments)
        if given.seed < 0 or (given.places is not None and not 1 <= given.places <= 900):
            parser.error("--seed must be 0 or more, and --places 1 to 900")
    except SystemExit as ended:
        return int(ended.code or 0)
    made = make_landscape(given.folder, seed=given.seed, sensor=given.sensor, places=given.places)
    for path in (*made.scenes, *made.labels, made.polygons, made.classes):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
