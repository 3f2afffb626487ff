"""Train one configuration over seeds and a grid of settings, and compare the runs."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta.config.sweep_runs import read_sweep
from rsmeta.config.yaml_files import read_yaml
from rsmeta.errors import OutputError, RunsFailedError
from rsmeta.shown import Shown, View
from rsmeta.training.duration import TimeLeft
from rsmeta.workflows.run_folder import CONFIG_FILE, LENGTH, METRICS_FILE, check_run
from rsmeta.workflows.sweep.process import Places, train_apart
from rsmeta.workflows.sweep.table import TABLES, Outcome, Row, scores_of, shown, write_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rsmeta.config.load import Overrides
    from rsmeta.config.sweep_runs import SweepRun

logger = logging.getLogger(__name__)

#: Subfolder that holds the runs.
RUNS = "runs"


@dataclass(frozen=True, repr=False)
class SweepResult(Shown):
    """Result of a sweep.

    Attributes:
        output: Its folder, with ``table.csv``, ``table.md``, ``runs.csv`` and ``runs/``.
        rows: The table, one row per grid point.
        outcomes: Result of each run.
    """

    output: Path
    rows: list[Row]
    outcomes: list[Outcome]

    def view(self) -> View:
        """Return the table."""
        failed = sum(one.error is not None for one in self.outcomes)
        facts = {"output": self.output, "runs": len(self.outcomes), "failed": failed}
        header, rows = shown(self.rows)
        return View(facts, header, rows)


def sweep(
    config: str | Path | Mapping[str, Any],
    overrides: Overrides = (),
    *,
    output: str | Path,
    resume: bool = False,
) -> SweepResult:
    """Train every point of ``sweep.grid`` with every seed, each run in its own process.

    The tables are rewritten after every run. A failed run is logged and does not stop the others.

    Args:
        config: YAML file or mapping with a ``sweep`` section.
        overrides: ``KEY=VALUE`` strings, or a mapping, that override the configuration.
        output: Folder of the sweep; created if missing.
        resume: Keep the finished runs in ``output`` and continue the others.

    Returns:
        The table and the result of each run.

    Raises:
        RsmetaError: The settings or the output folder are invalid; nothing was trained.
        RunsFailedError: Some runs failed; the others finished.
    """
    section, runs = read_sweep(config, overrides)
    output = Path(output)
    _check(output, runs, resume=resume)
    outcomes = {run: _previous(output, run) for run in runs}
    waiting = [run for run, one in outcomes.items() if one.metrics is None]
    places = Places.of(runs[0].settings.trainer.accelerator, section.parallel)
    logger.info(
        "%d runs, %d of them already finished; %s", len(runs), len(runs) - len(waiting), places
    )
    (output / RUNS).mkdir(parents=True, exist_ok=True)
    rows = write_tables(output, list(outcomes.values()))
    left = TimeLeft(len(waiting))
    for outcome in _trained(output, waiting, places):
        outcomes[outcome.run] = outcome
        rows = write_tables(output, list(outcomes.values()))
        ended = sum(one.status != "waiting" for one in outcomes.values())
        _log(outcome, f"{ended}/{len(runs)}", left.after_one())
    result = SweepResult(output, rows, list(outcomes.values()))
    failed = {one.run.label: one.error for one in result.outcomes if one.error is not None}
    if failed:
        raise RunsFailedError(failed, result, len(runs))
    return result


def _check(output: Path, runs: Sequence[SweepRun], *, resume: bool) -> None:
    """Check the output folder before any training.

    Raises:
        OutputError: It holds something else, or cannot be written.
    """
    if (output / CONFIG_FILE).exists():
        raise OutputError(f"{output} holds a single run; choose another folder for the sweep")
    own = [name for name in TABLES if (output / name).exists() and not (output / RUNS).exists()]
    if own:
        raise OutputError(f"{output / own[0]} exists and is not of a sweep; choose another folder")
    if (output / RUNS).exists() and not resume:
        raise OutputError(
            f"{output} already holds a sweep; continue it with --resume, or choose another folder"
        )
    for run in runs:
        folder = output / RUNS / run.folder
        if (folder / CONFIG_FILE).exists() or run is runs[0]:
            check_run(folder, run.settings, resume=(folder / CONFIG_FILE).exists())


def _previous(output: Path, run: SweepRun) -> Outcome:
    """Return the result that an earlier sweep left in the folder of a run."""
    folder = output / RUNS / run.folder
    if not (folder / METRICS_FILE).exists():
        return Outcome(run)
    length = read_yaml(folder / CONFIG_FILE)["trainer"]
    required = run.settings.trainer.model_dump(mode="json")
    if any(length.get(key) != required[key] for key in LENGTH):
        (folder / METRICS_FILE).unlink()  # of a shorter run with checkpoints, which continues
        return Outcome(run)
    return Outcome(run, metrics=_metrics(folder))


def _metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    return metrics


def _trained(output: Path, runs: Sequence[SweepRun], places: Places) -> Iterator[Outcome]:
    """Train runs in parallel, one per place; yield each as it ends."""
    pool = ThreadPoolExecutor(places.count)  # each thread only waits for a process
    try:
        waiting: dict[Future[str | None], SweepRun] = {
            pool.submit(train_apart, run.settings, output / RUNS / run.folder, places): run
            for run in runs
        }
        for future in as_completed(waiting):
            run, error = waiting[future], future.result()
            folder = output / RUNS / run.folder
            yield Outcome(run, error=error) if error else Outcome(run, metrics=_metrics(folder))
    except BaseException:  # such as Ctrl-C: do not wait for hours of training
        pool.shutdown(wait=False, cancel_futures=True)
        places.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _log(outcome: Outcome, ended: str, left: str) -> None:
    if outcome.metrics is None:
        logger.warning("%s  %s  failed: %s%s", ended, outcome.run.label, outcome.error, left)
        return
    scores = scores_of(outcome.metrics)
    part = "test" if any(name.startswith("test_") for name in scores) else "validation"
    text = "  ".join(f"{k} {v:.4g}" for k, v in scores.items() if k.startswith(part))
    logger.info("%s  %s  %s%s", ended, outcome.run.label, text, left)
