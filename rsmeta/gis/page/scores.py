"""Scores of a model or a map, as a page shows them: numbers in front, a table, a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: More classes than these are listed by how often they occur, and only those that do; a matrix
#: shows no more.
_MOST_CLASSES = 24

_UNKNOWN = "\N{EN DASH}"
_USERS, _PRODUCERS = (f"{who}\N{RIGHT SINGLE QUOTATION MARK}s" for who in ("user", "producer"))

#: Scores between 0 and 1 that come first, in this order; what people call them, and whether they
#: are shares.
_HEADLINE = {
    "accuracy": ("accuracy", True), "mean_class_accuracy": ("mean class accuracy", True),
    "mean_average_precision": ("mAP", False), "miou": ("mean IoU", False),
    "micro_f1": ("micro F1", False), "macro_f1": ("macro F1", False), "kappa": ("kappa", False),
    "calibration_error": ("calibration error", False),
}  # fmt: skip

#: Scores in the unit of what is estimated.
_ERRORS = {"rmse": "RMSE", "mae": "mean absolute error", "bias": "bias"}

#: Columns of a table of classes; precision and recall are what mapmakers call them.
_COLUMNS = {
    "precision": _USERS, "recall": _PRODUCERS, "accuracy": _PRODUCERS,
    "average_precision": "average precision", "f1": "F1", "iou": "IoU",
}  # fmt: skip


def score_view(scores: Mapping[str, Any], counted: str) -> dict[str, Any]:
    """Return what a page shows of scores.

    Args:
        scores: Scores, as ``as_dict`` of any of our metrics gives them.
        counted: What was compared: pixels, points, images.

    Returns:
        ``headline`` (name and value), ``compared`` (a number with what it counts), ``table``
        (``columns``, ``rows`` of name and cells, ``left_out``; none for numbers) and ``matrix``
        (``names``, ``rows``, ``left_out``; none where there is no confusion).
    """
    by_class = scores.get("classes") or scores.get("labels") or {}
    count = scores.get("pixels", scores.get("images", scores.get("count")))
    return {
        "headline": [{"name": name, "value": value} for name, value in _headline(scores).items()],
        # of several labels per image nobody counted the images
        "compared": "" if count is None else f"{count:,} {counted}",
        "table": _table(by_class, counted) if by_class else None,
        "matrix": _matrix(list(by_class), scores["confusion"]) if "confusion" in scores else None,
    }


def first_score(scores: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return name and value of the score that says most; none where nothing was compared."""
    for key in ("miou", "rmse", "mean_class_accuracy", "mean_average_precision"):
        if scores.get(key) is not None:
            name = _ERRORS.get(key) or _HEADLINE[key][0]
            return name, _headline(scores)[name]
    return None


def _headline(scores: Mapping[str, Any]) -> dict[str, str]:
    unit = f" {scores['unit']}" if scores.get("unit") else ""
    shown = {
        name: _UNKNOWN if scores[key] is None else number_text(scores[key]) + unit
        for key, name in _ERRORS.items()
        if key in scores
    }
    if "r2" in scores:
        shown["R²"] = _UNKNOWN if scores["r2"] is None else f"{scores['r2']:.3f}"
    for key, (name, is_share) in _HEADLINE.items():
        if key in scores:
            value = scores[key]
            shown[name] = (
                _UNKNOWN
                if value is None
                else f"{value * 100:.1f} %"
                if is_share
                else f"{value:.3f}"
            )
    return shown


def _table(by_class: Mapping[str, Mapping[str, Any]], counted: str) -> dict[str, Any]:
    first = next(iter(by_class.values()))
    keys = [key for key in _COLUMNS if key in first]
    size = "pixels" if "pixels" in first else "images"
    names = list(by_class)
    if len(names) > _MOST_CLASSES:
        names.sort(key=lambda name: -by_class[name][size])
        names = [name for name in names if by_class[name][size]]
    rows = [
        {
            "name": name,
            "cells": [
                *(
                    _UNKNOWN if by_class[name][k] is None else f"{by_class[name][k]:.3f}"
                    for k in keys
                ),
                f"{by_class[name][size]:,}",
            ],
        }
        for name in names
    ]
    columns = [*(_COLUMNS[key] for key in keys), f"reference {counted}"]
    return {"columns": columns, "rows": rows, "left_out": len(by_class) - len(names)}


def _matrix(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return a matrix that can be read: of many classes those that occur most often."""
    shown = list(range(len(names)))
    if len(names) > _MOST_CLASSES:
        totals = [sum(row) for row in confusion]
        shown = sorted(shown, key=lambda i: -totals[i])[:_MOST_CLASSES]
    rows = []
    for i in shown:
        total = sum(confusion[i])
        cells = [
            {"count": confusion[i][j], "share": confusion[i][j] / total if total else 0.0}
            for j in shown
        ]
        rows.append({"name": names[i], "known": total > 0, "cells": cells})
    left_out = len(names) - len(shown)
    return {"names": [names[i] for i in shown], "rows": rows, "left_out": left_out}


def number_text(value: float) -> str:
    """Return a number of any size with four digits that count."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
