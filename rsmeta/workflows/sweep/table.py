"""The tables of a sweep: scores per run; per point their spread, and differences by seed."""

from __future__ import annotations

import csv
import io
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from rsmeta.config.sweep_runs import cells
from rsmeta.workflows.run_folder import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rsmeta.config.sweep_runs import SweepRun

PARTS = ("validation", "test")

#: The tables, in the folder of the sweep.
TABLES = ("runs.csv", "table.csv", "table.md")

#: Scores in the printed table; the CSV files hold all.
_SHOWN = ("accuracy", "mean_class_accuracy", "macro_f1", "tail_accuracy", "tail_f1")

#: What the table says of its differences.
IN_PARENTHESES = (
    "Mean ± standard deviation over seeds; in parentheses the mean difference from the first point "
    "± its standard error, over the seeds that both have."
)

#: Seeds below which a difference has no standard error, and is not shown.
_PAIRS = 2


class Outcome(NamedTuple):
    """Result of one run.

    Attributes:
        run: The run.
        metrics: Content of its ``metrics.json``; none if it has not finished.
        error: Why it failed; none if it did not.
    """

    run: SweepRun
    metrics: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def status(self) -> str:
        """Finished, failed or waiting."""
        if self.error is not None:
            return "failed"
        return "waiting" if self.metrics is None else "finished"


class Spread(NamedTuple):
    """Mean and sample standard deviation over seeds; no deviation for one seed."""

    mean: float
    deviation: float | None


class Difference(NamedTuple):
    """Mean over seeds of the difference from the first point, and its standard error."""

    mean: float
    error: float
    pairs: int


class Row(NamedTuple):
    """One point of the sweep.

    Attributes:
        point: Its values, as text.
        finished: Number of finished runs.
        runs: Number of runs.
        failed: Number of failed runs.
        scores: Scores of finished runs by name, such as ``test_accuracy``.
        differences: Of each score from the first point's, over the seeds that both have.
        parameters: Number of trained parameters; none if no run finished.
        seconds: Mean duration of a run; none if no run finished.
    """

    point: dict[str, str]
    finished: int
    runs: int
    failed: int
    scores: dict[str, Spread]
    differences: dict[str, Difference]
    parameters: int | None
    seconds: float | None


def scores_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return every score of a run by name, such as ``test_accuracy``, and those of the tail.

    The tail is the rarest third of the classes by training labels, at least one; its accuracy is
    the mean recall of those that occur in the part, its F1 their mean F1.
    """
    found: dict[str, float] = {}
    for part in PARTS:
        scores = metrics.get(part) or {}
        for kind in (scores, scores.get("groups") or {}):
            found |= {f"{part}_{k}": v for k, v in kind.items() if isinstance(v, float)}
        tail = _tail(metrics.get("class_counts") or {}, scores.get("classes") or {})
        found |= {f"{part}_tail_{name}": value for name, value in tail.items()}
    return found


def _tail(counts: Mapping[str, int], classes: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    rarest = sorted(counts, key=lambda name: (counts[name], name))[: max(len(counts) // 3, 1)]
    found = [classes.get(name, {}) for name in rarest]
    scores = {
        "accuracy": [one.get("recall", one.get("accuracy")) for one in found],
        "f1": [one.get("f1") for one in found],
    }
    known = {name: [v for v in values if v is not None] for name, values in scores.items()}
    return {name: statistics.mean(values) for name, values in known.items() if values}


def summarise(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return one row per point, in the order of the runs."""
    points: dict[tuple[tuple[str, str], ...], list[Outcome]] = {}
    for outcome in outcomes:
        points.setdefault(tuple(cells(outcome.run.point).items()), []).append(outcome)
    first = next(iter(points.values()), [])
    return [
        _row(dict(point), found, () if found is first else first) for point, found in points.items()
    ]


def _row(point: dict[str, str], outcomes: Sequence[Outcome], first: Sequence[Outcome]) -> Row:
    finished = [one.metrics for one in outcomes if one.metrics is not None]
    runs = [scores_of(metrics) for metrics in finished]
    names = dict.fromkeys(name for run in runs for name in run)
    seconds = [metrics["seconds"] for metrics in finished]
    return Row(
        point=point,
        finished=len(finished),
        runs=len(outcomes),
        failed=sum(one.error is not None for one in outcomes),
        scores={name: _spread([run[name] for run in runs if name in run]) for name in names},
        differences=_differences(outcomes, first),
        parameters=finished[0]["trained_parameters"] if finished else None,
        seconds=statistics.mean(seconds) if finished else None,
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def _differences(own: Sequence[Outcome], first: Sequence[Outcome]) -> dict[str, Difference]:
    """Return the differences of all scores that at least two seeds of both points have."""
    ours, theirs = (
        {one.run.seed: scores_of(one.metrics) for one in outcomes if one.metrics is not None}
        for outcomes in (own, first)
    )
    pairs: dict[str, list[float]] = {}
    for seed in ours.keys() & theirs.keys():
        for name in ours[seed].keys() & theirs[seed].keys():
            pairs.setdefault(name, []).append(ours[seed][name] - theirs[seed][name])
    return {
        name: Difference(
            statistics.mean(found), statistics.stdev(found) / len(found) ** 0.5, len(found)
        )
        for name, found in pairs.items()
        if len(found) >= _PAIRS
    }


def shown(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the printed table: ``0.712 ± 0.004``, or n/a if unknown.

    Where two seeds or more can be compared with the first point's, the mean difference and its
    standard error follow in parentheses.
    """
    every = list(dict.fromkeys(name for row in rows for name in row.scores))
    usual = [f"{part}_{name}" for part in PARTS for name in _SHOWN]
    names = [name for name in usual if name in every] or every
    keys = list(dict.fromkeys(key for row in rows for key in row.point))
    scores = [name.replace("_", " ", 1) for name in names]
    header = [*keys, "runs", *scores, "parameters", "seconds"]
    return header, [
        [
            *(row.point.get(key, "") for key in keys),
            f"{row.finished} of {row.runs}" + (f", {row.failed} failed" if row.failed else ""),
            *(_score(row.scores.get(name), row.differences.get(name)) for name in names),
            "n/a" if row.parameters is None else f"{row.parameters:,}",
            "n/a" if row.seconds is None else f"{row.seconds:.0f}",
        ]
        for row in rows
    ]


def _score(spread: Spread | None, difference: Difference | None) -> str:
    if spread is None:
        return "n/a"
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.3f}"
    text = f"{spread.mean:.3f}{deviation}"
    return f"{text} ({difference.mean:+.3f} ± {difference.error:.3f})" if difference else text


def write_tables(folder: Path, outcomes: Sequence[Outcome]) -> list[Row]:
    """Write ``runs.csv``, ``table.csv`` and ``table.md``; return the rows of the table.

    Raises:
        OutputError: The folder cannot be written.
    """
    rows = summarise(outcomes)
    write_text(folder / TABLES[0], _as_csv([_of_run(one) for one in outcomes]))
    write_text(folder / TABLES[1], _as_csv([_of_point(row) for row in rows]))
    header, lines = shown(rows)
    text = [header, ["---"] * len(header), *lines]
    markdown = "".join(f"| {' | '.join(_no_bars(line))} |\n" for line in text)
    if any(row.differences for row in rows):
        markdown += f"\n{IN_PARENTHESES}\n"
    failed = [f"- {one.run.label}: {one.error}\n" for one in outcomes if one.error is not None]
    if failed:
        markdown += "\nFailed:\n\n" + "".join(failed)
    write_text(folder / TABLES[2], markdown)
    return rows


def _no_bars(line: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in line]


def _of_run(outcome: Outcome) -> dict[str, Any]:
    metrics = outcome.metrics or {}
    return {
        **cells(outcome.run.point),
        "seed": outcome.run.seed,
        "folder": f"runs/{outcome.run.folder}",
        "status": outcome.status,
        "error": outcome.error,
        "parameters": metrics.get("trained_parameters"),
        "seconds": metrics.get("seconds"),
        **scores_of(metrics),
    }


def _of_point(row: Row) -> dict[str, Any]:
    scores = {
        f"{name}_{kind}": value
        for name, spread in row.scores.items()
        for kind, value in (("mean", spread.mean), ("std", spread.deviation))
    } | {
        f"{name}_difference{kind}": value
        for name, difference in row.differences.items()
        for kind, value in (("", difference.mean), ("_error", difference.error))
    }
    counts = {"runs": row.runs, "finished": row.finished, "failed": row.failed}
    return {
        **row.point, **counts, "parameters": row.parameters, "seconds": row.seconds, **scores,
    }  # fmt: skip


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
