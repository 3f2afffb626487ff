"""``python -m rsmeta.sample_data FOLDER [SEED]``: write the landscape and name the files."""

from __future__ import annotations

import sys
from pathlib import Path

from rsmeta.sample_data.landscape import make_landscape


def main(arguments: list[str]) -> int:
    """Write the landscape; return the exit status."""
    if not 1 <= len(arguments) <= 2 or not all(a.isdecimal() for a in arguments[1:]):
        print("usage: python -m rsmeta.sample_data FOLDER [SEED]", file=sys.stderr)
        return 2
    made = make_landscape(Path(arguments[0]), seed=int(arguments[1]) if arguments[1:] else 0)
    for path in (*made.scenes, *made.labels, made.polygons, made.classes):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
