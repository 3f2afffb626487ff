"""Print tables: aligned columns, trainable sites, learned scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = (), *, margin: str = "") -> None:
    """Echo rows in aligned columns behind a margin; the last column is not padded."""
    lines = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not lines:
        return
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        click.echo(margin + "  ".join([*padded, line[-1]]).rstrip())


def trainable(rows: Sequence[dict[str, Any]]) -> None:
    """Echo the trainable sites; equal sites of several blocks share a line."""
    lines: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for row in rows:
        block, dot, position = row["site"].rpartition(".")
        key = (position, row["method"], str(row["rank"] or ""), f"{row['rate']:.3g}")
        lines.setdefault(key, []).append((block if dot else "", row["parameters"]))
    table(
        [
            (f"{_ranges(blocks)}.{position}" if blocks[0] else position, method, rank,
             f"{sum(count for _, count in found):,}", rate)
            for (position, method, rank, rate), found in lines.items()
            for blocks in [[block for block, _ in found]]
        ],
        ("site", "method", "rank", "parameters", "rate"),
    )  # fmt: skip


def _ranges(blocks: Sequence[str]) -> str:
    """Return block numbers as ascending ranges: ``0-3,7``."""
    numbers = sorted({int(block) for block in blocks})
    first = [n for n in numbers if n - 1 not in numbers]
    last = [n for n in numbers if n + 1 not in numbers]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(first, last, strict=True))


def scales(by_site: dict[str, float]) -> None:
    """Echo the scales of the adapters, block by position; - without an adapter."""
    places = [site.split(".") for site in by_site]
    positions = list(dict.fromkeys(position for _, position in places))
    blocks = list(dict.fromkeys(block for block, _ in places))
    rows = []
    for block in blocks:
        values = (by_site.get(f"{block}.{position}") for position in positions)
        rows.append([block, *("-" if scale is None else f"{scale:.3f}" for scale in values)])
    table(rows, ("block", *positions))


def share(value: float | None) -> str:
    """Return a share with four digits, or n/a if unknown."""
    return "n/a" if value is None else f"{value:.4f}"
