"""How results are shown: tables, key-value lines, scores, progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Echo rows in aligned columns; the last column is not padded."""
    lines = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not lines:
        return
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        click.echo("  ".join([*padded, line[-1]]).rstrip())


def scores(result: dict[str, Any]) -> None:
    """Echo accuracy, mIoU and macro-F1, then the scores of each class."""
    click.echo(
        f"accuracy {share(result['accuracy'])}  mIoU {share(result['miou'])}  "
        f"macro F1 {share(result['macro_f1'])}"
    )
    rows = [
        [name, *(share(entry[key]) for key in ("iou", "f1", "precision", "recall")),
         f"{entry['pixels']:,}"]
        for name, entry in result["classes"].items()
    ]  # fmt: skip
    table(rows, ("class", "IoU", "F1", "precision", "recall", "reference pixels"))


def share(value: float | None) -> str:
    """Return a share with four digits, or n/a where a class does not occur."""
    return "n/a" if value is None else f"{value:.4f}"
