"""The part of a report about a training run: scores, curves, learned scales, settings."""

from __future__ import annotations

import base64
import csv
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsmeta.bundle.bundle import read_record
from rsmeta.bundle.find import RECORD_FILE
from rsmeta.config.tuner import Position
from rsmeta.errors import BundleError, one_line
from rsmeta.gis.page.charts import Line, line_chart
from rsmeta.gis.page.map_view import with_unit
from rsmeta.gis.page.scores import first_score, score_view
from rsmeta.workflows.run_folder import CONFIG_FILE, METRICS_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.bundle import BundleRecord

#: Title of the curves in the unit of the target.
_ERRORS = "Validation error"

#: Training curves: title, range of the y axis, columns of history.csv and their labels.
_CURVES: tuple[tuple[str, tuple[float, float] | None, dict[str, str]], ...] = (
    ("Loss", None, {"train_loss": "training", "validation_loss": "validation"}),
    (
        "Validation",
        (0.0, 1.0),
        {
            "validation_accuracy": "accuracy",
            "validation_miou": "mean IoU",
            "validation_macro_f1": "macro F1",
            "validation_mean_class_accuracy": "mean class accuracy",
            "validation_mean_average_precision": "mAP",
            "validation_micro_f1": "micro F1",
        },
    ),
    (_ERRORS, None, {"validation_rmse": "RMSE", "validation_mae": "mean absolute"}),
    ("Explained variance, validation", None, {"validation_r2": "R²"}),
)

#: Positions in the order of the forward pass.
_ORDER: tuple[str, ...] = Position.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class RunStory:
    """A run folder, or a single bundle, read for a report.

    Attributes:
        folder: Its folder.
        record: Record of its bundle.
        metrics: Content of metrics.json, else the training numbers in the bundle.
        parts: Fields of a ``Page`` that describe a run.
    """

    folder: Path
    record: BundleRecord
    metrics: dict[str, Any]
    parts: dict[str, Any]

    @property
    def title(self) -> str:
        """Name of the run."""
        return self.folder.resolve().name


def open_run(folder: Path) -> RunStory:
    """Read a run folder or a bundle folder.

    Raises:
        BundleError: It holds no bundle, or one of its files cannot be read.
    """
    bundle = folder if (folder / RECORD_FILE).exists() else folder / "bundle"
    if not (bundle / RECORD_FILE).exists():
        raise BundleError(f"{folder} holds no bundle; give the folder of a finished run")
    record = read_record(bundle)
    metrics = record.training
    if (folder / METRICS_FILE).exists():
        metrics = _json(folder / METRICS_FILE)
    parts = {
        "parts": _parts(metrics, "pixels" if record.per == "pixel" else "images"),
        "selection": _selection(metrics.get("selection")),
        "cross_validation": _cross_validation(metrics.get("cross_validation")),
        "charts": _charts(_rows(folder / "history.csv"), record.output.unit),
        "scales": _scales(record.scales, _rows(folder / "gamma_history.csv")),
        "pictures": _pictures(folder / "plots" / "chips.png", bundle / "quicklook.png"),
        "provenance": _provenance(record, metrics),
        "settings": _settings(folder / CONFIG_FILE, bundle / RECORD_FILE),
    }
    return RunStory(folder, record, metrics, parts)


def run_facts(run: RunStory) -> list[dict[str, str]]:
    """Return the headline facts of a run."""
    metrics, record = run.metrics, run.record
    target = record.target
    scored = ("classes", f"{len(record.classes)}")
    if target is not None:
        scored = ("", f"{target.name} in {target.unit}" if target.unit else target.name)
    facts = [("", record.backbone.name), scored, ("bands", f"{len(record.bands)}")]
    for name, label in (("epochs", "epochs"), ("trained_parameters", "trained parameters")):
        if name in metrics:
            facts.append((label, f"{metrics[name]:,}"))
    for part in ("test", "validation"):
        best = first_score(metrics.get(part) or {})
        if best is not None:
            facts.append((f"{best[0]}, {part}", best[1]))
            break
    found = (metrics.get("cross_validation") or {}).get("macro_f1")
    if found is not None:
        facts.append(("macro F1, cross-validation", _mean_text(found)))
    return [{"name": name, "value": value} for name, value in facts]


def _parts(metrics: dict[str, Any], unit: str) -> list[dict[str, Any]]:
    return [
        {
            "name": part,
            "title": f"Accuracy on the {part} part",
            "scores": score_view(metrics[part], unit),
            "labels": _labels(metrics.get("target")),
            "comparison": _comparison(metrics, part),
            "notes": _notes(metrics[part]),
        }
        for part in ("test", "validation")
        if metrics.get(part)
    ]


#: What baselines are called, and the scores that are compared.
_MODELS = {"forest": "random forest", "logistic": "logistic regression"}
_COMPARED = {"accuracy": "accuracy", "miou": "mean IoU", "macro_f1": "macro F1"}
_UNKNOWN = "\N{EN DASH}"


def _comparison(metrics: dict[str, Any], part: str) -> dict[str, Any] | None:
    """Return a table of the model and the baselines; none where there are no baselines."""
    scored = {
        _MODELS.get(name, name): parts[part]
        for name, parts in (metrics.get("baseline") or {}).items()
        if part in parts
    }
    if not scored:
        return None
    models = {"this model": metrics[part], **scored}
    rows = [
        {"name": name, "cells": _cells(one), "own": one is metrics[part]}
        for name, one in models.items()
    ]
    return {"columns": list(_COMPARED.values()), "rows": rows}


def _cells(scores: dict[str, Any]) -> list[str]:
    values = [scores.get(key) for key in _COMPARED]
    return [_UNKNOWN if value is None else f"{value:.3f}" for value in values]


def _notes(scores: dict[str, Any]) -> list[str]:
    """Return sentences on how far the scores of a part can be trusted."""
    notes = []
    for key, name in _COMPARED.items():
        if ends := (scores.get("interval_95") or {}).get(key):
            notes.append(f"{name} {ends[0]:.3f} to {ends[1]:.3f}")
    if notes:
        notes = [f"95 % confidence intervals, by polygons: {', '.join(notes)}."]
    elif scores.get("interval_reason"):
        notes = [
            f"No confidence interval: {scores['interval_reason'].removesuffix(': no interval')}."
        ]
    told = {name: one.get("reason") for name, one in (scores.get("classes") or {}).items()}
    return notes + [f"{name}: {reason}." for name, reason in told.items() if reason]


def _selection(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the models that ``model: auto`` compared, and why it chose one."""
    if not found or not found.get("candidates"):
        return None
    rows = [
        {
            "name": f"{row['number']}: {row['name']}",
            "cells": [
                f"{row['macro_f1']:.3f}",
                f"{row['difference']:+.3f} ± {row['standard_error']:.3f}",
            ],
            "own": row["name"] == found["chosen"],
        }
        for row in found["candidates"]
    ]
    return {
        "columns": ["macro F1", f"beside {found['compared_with']}"],
        "rows": rows,
        "held_out": f"{found['pixels']:,} pixels of {found['groups']} held-out polygons or blocks",
        "reason": f"Chosen: {found['chosen']}, since {found['reason']}.",
    }


def _cross_validation(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return mean and standard error by model, and the scores of all held-out pixels."""
    if not found or not found.get("folds"):
        return None
    models = {"this model": found}
    models |= {_MODELS.get(k, k): v for k, v in (found.get("baseline") or {}).items()}
    rows = [
        {
            "name": name,
            "cells": [_mean_text(one.get(key)) for key in _COMPARED],
            "own": one is found,
        }
        for name, one in models.items()
    ]
    return {
        "runs": found["runs"],
        "columns": list(_COMPARED.values()),
        "rows": rows,
        "scores": score_view(found["pooled"], "pixels"),
    }


def _mean_text(one: dict[str, float | None] | None) -> str:
    if one is None or one["mean"] is None:
        return _UNKNOWN
    error = one["standard_error"]
    return f"{one['mean']:.3f}" + ("" if error is None else f" ± {error:.3f}")


def _labels(target: dict[str, Any] | None) -> str | None:
    """Return mean and standard deviation of the training labels, to judge errors by."""
    if target is None:
        return None
    mean, std = (with_unit(target[key], target["unit"]) for key in ("mean", "std"))
    return f"the training labels have a mean of {mean} and a standard deviation of {std}"


def _charts(history: Sequence[dict[str, str]], unit: str | None) -> list[dict[str, Any]]:
    charts = []
    for title, y_range, columns in _CURVES:
        lines = [
            Line(name, _points(history, "epoch", column), hue)
            for hue, (column, name) in enumerate(columns.items())
        ]
        lines = [one for one in lines if any(math.isfinite(y) for _, y in one.points)]
        if lines:
            full_title = f"{title} in {unit}" if unit and title == _ERRORS else title
            svg = line_chart(lines, title=full_title, x_label="epoch", y_range=y_range)
            charts.append({"title": full_title, "svg": svg, "legend": _legend(lines)})
    return charts


def _points(rows: Sequence[dict[str, str]], x: str, y: str) -> list[tuple[float, float]]:
    return [(float(row[x]), float(row.get(y) or "nan")) for row in rows]


def _legend(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [{"name": one.name, "hue": one.hue} for one in lines]


def _scales(
    final: dict[str, float] | None, history: Sequence[dict[str, str]]
) -> dict[str, Any] | None:
    """Return the table of final scales, block by position, and their chart over time."""
    if not final:
        return None
    sites = [*final, *(row["site"] for row in history)]
    found = {site.split(".")[1] for site in sites}
    positions = [*(p for p in _ORDER if p in found), *sorted(found - set(_ORDER))]
    depth = 1 + max(int(site.split(".")[0]) for site in sites)
    start = _start(final, history)
    reach = max(max(abs(scale - start) for scale in final.values()), 0.05)
    rows = [
        {
            "block": block,
            "cells": [_cell(final.get(f"{block}.{position}"), start, reach)
                      for position in positions],
        }
        for block in range(depth)
    ]  # fmt: skip
    return {"positions": positions, "rows": rows, "chart": _scale_chart(history, positions, depth)}


def _start(final: dict[str, float], history: Sequence[dict[str, str]]) -> float:
    first = [float(row["scale"]) for row in history if row["step"] == history[0]["step"]]
    known = first or list(final.values())
    return sum(known) / len(known)


def _cell(scale: float | None, start: float, reach: float) -> dict[str, Any] | None:
    if scale is None:
        return None
    side = "above" if scale >= start else "below"
    return {"text": f"{scale:.3f}", "side": side, "strength": abs(scale - start) / reach}


def _scale_chart(
    history: Sequence[dict[str, str]], positions: Sequence[str], depth: int
) -> dict[str, Any] | None:
    if len({row["step"] for row in history}) < 2:
        return None
    by_site: dict[str, list[tuple[float, float]]] = {}
    for row in history:
        by_site.setdefault(row["site"], []).append((float(row["step"]), float(row["scale"])))
    lines = []
    for site, points in by_site.items():
        block, position = site.split(".")
        strength = 0.4 + 0.6 * int(block) / max(depth - 1, 1)
        lines.append(Line(site, points, positions.index(position), strength))
    svg = line_chart(lines, title="Scales over optimizer steps", x_label="optimizer step")
    legend = [{"name": position, "hue": hue} for hue, position in enumerate(positions)]
    return {"svg": svg, "legend": legend}


def _pictures(*candidates: Path) -> list[dict[str, str]]:
    """Return the first picture that exists, as a data URI."""
    for path in candidates:
        if path.exists():
            data = base64.b64encode(_bytes(path)).decode()
            note = "image, label, prediction"
            return [{"title": "Chips", "note": note, "data": f"data:image/png;base64,{data}"}]
    return []


def _provenance(record: BundleRecord, metrics: dict[str, Any]) -> list[dict[str, str]]:
    backbone = record.backbone
    versions = metrics.get("versions") or {}
    facts = {
        "model created": record.created,
        "trained with": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "backbone": backbone.name,
        "pretrained weights": backbone.checkpoint,
        "pretrained weights (SHA-256)": backbone.sha256,
        "licence of pretrained weights": backbone.licence,
        "bands": ", ".join(band.name for band in record.bands),
        "training pixel size": None if record.gsd_m is None else _range(record.gsd_m),
        "tile": f"{record.tile_px} px",
        "seed": str(record.training.get("seed", "")),
        "trained weights (SHA-256)": record.weights_sha256,
    }
    return [{"name": name, "value": value} for name, value in facts.items() if value]


def _range(gsd_m: tuple[float, float]) -> str:
    low, high = (f"{n:.3g}" for n in gsd_m)
    return f"{low} m" if low == high else f"{low} to {high} m"


def _settings(*files: Path) -> list[dict[str, str]]:
    return [
        {"name": file.name, "text": _bytes(file).decode("utf-8", errors="replace")}
        for file in files
        if file.exists()
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none if it does not exist."""
    if not path.exists():
        return []
    return list(csv.DictReader(_bytes(path).decode("utf-8", errors="replace").splitlines()))


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(_bytes(path))
    except ValueError as error:
        raise BundleError(
            f"{path} is not valid JSON ({one_line(error)}); is the run complete?"
        ) from error
    return content


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"cannot read {path} ({error.strerror}); check its permissions"
        ) from error
