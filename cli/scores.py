"""Print scores: overall ones in a line, then a table per class or label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rsmeta_cli.show import share, table

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Most classes in a table; of more, the ones with the lowest scores are shown.
_MOST_ROWS = 60


def scores(result: Mapping[str, Any]) -> None:
    """Echo the scores of any task, given ``as_dict`` of its result."""
    if "miou" in result:
        _of_maps(result)
    elif "mean_class_accuracy" in result:
        _of_images(result)
    elif "mean_average_precision" in result:
        _of_labels(result)
    else:
        _of_numbers(result)


def _of_maps(result: Mapping[str, Any]) -> None:
    click.echo(
        f"accuracy {share(result['accuracy'])}  mIoU {share(result['miou'])}  "
        f"macro F1 {share(result['macro_f1'])}"
    )
    if interval := result.get("interval_95"):
        low, high = map(share, interval["macro_f1"])
        click.echo(f"95 % confidence interval of macro F1, by polygons: {low} to {high}")
    elif "interval_reason" in result:
        click.echo(result["interval_reason"])
    rows = [
        [name, *(share(entry[key]) for key in ("iou", "f1", "precision", "recall")),
         entry.get("reason") or f"{entry['pixels']:,}"]
        for name, entry in result["classes"].items()
    ]  # fmt: skip
    table(rows, ("class", "IoU", "F1", "precision", "recall", "reference pixels"))


def _of_images(result: Mapping[str, Any]) -> None:
    click.echo(
        f"accuracy {share(result['accuracy'])}  mean class accuracy "
        f"{share(result['mean_class_accuracy'])}  macro F1 {share(result['macro_f1'])}  "
        f"({result['images']:,} images)"
    )
    groups = "  ".join(f"{name} {share(value)}" for name, value in result["groups"].items())
    click.echo(f"{groups}  worst class {result['worst_class']} {share(result['worst_accuracy'])}")
    click.echo(
        f"harmonic mean {share(result['harmonic_mean'])}  geometric mean "
        f"{share(result['geometric_mean'])}  calibration error {share(result['calibration_error'])}"
    )
    rows = [
        [name, *(share(entry[key]) for key in ("accuracy", "f1", "precision")),
         f"{entry['images']:,}"]
        for name, entry in _worst(result["classes"], "accuracy")
    ]  # fmt: skip
    table(rows, ("class", "accuracy", "F1", "precision", "reference images"))


def _of_labels(result: Mapping[str, Any]) -> None:
    click.echo(
        f"mAP {share(result['mean_average_precision'])}  micro F1 {share(result['micro_f1'])}  "
        f"macro F1 {share(result['macro_f1'])}"
    )
    rows = [
        [name, share(entry["average_precision"]), share(entry["f1"]), f"{entry['images']:,}"]
        for name, entry in _worst(result["labels"], "average_precision")
    ]
    table(rows, ("label", "average precision", "F1", "reference images"))


def _of_numbers(result: Mapping[str, Any]) -> None:
    unit = f" {result['unit']}" if result["unit"] else ""
    errors = {"RMSE": "rmse", "MAE": "mae", "bias": "bias"}
    texts = [
        f"{label} n/a" if result[key] is None else f"{label} {result[key]:.4g}{unit}"
        for label, key in errors.items()
    ]
    texts += [f"R² {share(result['r2'])}", f"({result['count']:,} labels)"]
    click.echo(f"{result['name']}: {'  '.join(texts)}")


def _worst(entries: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Return all entries; if there are too many, those with the lowest scores, with a note."""
    if len(entries) <= _MOST_ROWS:
        return list(entries.items())
    known = [(name, entry) for name, entry in entries.items() if entry[key] is not None]
    click.echo(f"the {_MOST_ROWS} lowest scores of {len(entries)} (--json shows all):")
    return sorted(known, key=lambda item: item[1][key])[:_MOST_ROWS]
