"""Make one table and one JSON of what a run on a GPU has written so far.

    python benchmarks/gpu/table.py FOLDER

Reads ``results.jsonl``, writes ``gpu.json`` and ``gpu.md``. Needs Python's own library alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

#: What a row says beside its figure; everything else is shown as it is.
PLAIN = ("part", "what", "value", "unit")


def write(folder: Path) -> None:
    """Write both files anew."""
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    (folder / "gpu.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (folder / "gpu.md").write_text(markdown(rows), encoding="utf-8")


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table: machine, parts that did not end well, then every figure by part."""
    about = [f"- {row['what']}: {row['text']}" for row in rows if "text" in row]
    failed = [
        f"- {row['part']}, {row['what']}: {row.get('error', '')}" for row in rows if _failed(row)
    ]
    figures = [row for row in rows if "text" not in row and not _failed(row)]
    table = [f"| {' | '.join(_cells(row))} |" for row in figures]
    return "\n".join([
        *about, "", "| part | what | figure | more |", "|---|---|---|---|", *table, "",
        *(["What did not end well:", "", *failed, ""] if failed else []),
    ])  # fmt: skip


def _failed(row: dict[str, Any]) -> bool:
    return bool(row.get("error"))


def _cells(row: dict[str, Any]) -> list[str]:
    value = row["value"]
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    more = [f"{k} {_short(v)}" for k, v in row.items() if k not in PLAIN and v not in (None, "")]
    return [row["part"], row["what"].replace("|", "/"), f"{shown} {row['unit']}", ", ".join(more)]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {_short(v)}" for k, v in value.items()) + ")"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
