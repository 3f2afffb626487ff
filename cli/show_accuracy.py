"""Print the accuracy of a map: counts, and estimates with confidence intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rsmeta_cli import show

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = {"raster": "pixels", "polygons": "pixels inside polygons", "points": "points"}


def map_accuracy(result: dict[str, Any]) -> None:
    """Echo the accuracy of a map: agreement, confusion matrix and, from points, estimates."""
    kind = result["reference"]["kind"]
    overall = f"accuracy {show.share(result['accuracy'])}  mIoU {show.share(result['miou'])}  "
    click.echo(
        f"{overall}macro F1 {show.share(result['macro_f1'])}  kappa {show.share(result['kappa'])}"
    )
    click.echo(f"\nagreement over {result['pixels']:,} {_KINDS[kind]}")
    rows = [
        [name, *(show.share(entry[key]) for key in ("precision", "recall", "f1", "iou")),
         f"{entry['pixels']:,}"]
        for name, entry in result["classes"].items()
    ]  # fmt: skip
    show.table(rows, ("class", "user's", "producer's", "F1", "IoU", f"reference {kind}"))
    click.echo("\nreference (rows) and map (columns)")
    _confusion(list(result["classes"]), result["confusion"])
    if result["estimates"] is not None:
        _estimates(result["estimates"], in_m2=_has_areas(result))


def _confusion(names: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    cells = [[f"{count:,}" for count in row] for row in rows]
    widths = [max(len(name), *(len(row[k]) for row in cells)) for k, name in enumerate(names)]
    head = [name.rjust(width) for name, width in zip(names, widths, strict=True)]
    lines = [[cell.rjust(w) for cell, w in zip(row, widths, strict=True)] for row in cells]
    show.table([[name, *line] for name, line in zip(names, lines, strict=True)], ("", *head))


def _has_areas(result: dict[str, Any]) -> bool:
    return all(entry["mapped_area_m2"] is not None for entry in result["classes"].values())


def _estimates(estimates: dict[str, Any], *, in_m2: bool) -> None:
    """Echo the estimates for the whole map, ± half the 95 % confidence interval."""
    click.echo(
        f"\nestimates for the whole map, ± half of the 95 % confidence interval\n"
        f"overall accuracy {_share(estimates['overall_accuracy'])}  "
        f"mIoU {show.share(estimates['miou'])}  macro F1 {show.share(estimates['macro_f1'])}  "
        f"kappa {show.share(estimates['kappa'])}"
    )
    unit, scale = ("ha", 1e-4) if in_m2 else ("% of map", 100.0)
    rows = [
        [name, _share(one["users_accuracy"]), _share(one["producers_accuracy"]),
         show.share(one["f1"]), show.share(one["iou"]),
         f"{one['mapped_area_m2'] * scale:,.2f}", _area(one["area_m2"], scale),
         f"{one['samples']:,}"]
        for name, one in estimates["classes"].items()
    ]  # fmt: skip
    show.table(
        rows,
        ("class", "user's", "producer's", "F1", "IoU", f"mapped {unit}", f"estimated {unit}",
         "points"),
    )  # fmt: skip


def _share(estimate: dict[str, Any] | None) -> str:
    return "n/a" if estimate is None else f"{estimate['value']:.4f}{_half(estimate, 1, '.4f')}"


def _area(estimate: dict[str, Any], scale: float) -> str:
    return f"{estimate['value'] * scale:,.2f}{_half(estimate, scale, ',.2f')}"


def _half(estimate: dict[str, Any], scale: float, form: str) -> str:
    """Return half the interval as text; ``?`` if unknown."""
    if estimate["interval_95"] is None:
        return " ± ?"
    low, high = estimate["interval_95"]
    return f" ± {(high - low) / 2 * scale:{form}}"
