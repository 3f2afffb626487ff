"""``rsmeta train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsmeta_cli import show
from rsmeta_cli.init_command import guessing
from rsmeta_cli.keys import CommandWithKeys
from rsmeta_cli.scores import scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.config import Settings
    from rsmeta.workflows.sweep.sweep import SweepResult


@click.command(cls=CommandWithKeys)
@click.argument("config", metavar="[CONFIG]")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output", type=click.Path(path_type=Path), help="Run folder.")
@click.option("--resume", is_flag=True, help="Resume the run in the output folder.")
@click.option("--dry-run", is_flag=True, help="Check everything, list what would train, and stop.")
@click.pass_obj
def command(
    options: dict[str, Any],
    config: str,
    overrides: tuple[str, ...],
    *,
    output: Path | None,
    resume: bool,
    dry_run: bool,
) -> None:
    """Train a model from CONFIG; KEY=VALUE overrides a key by its dotted path.

    Without CONFIG, scenes=SCENE labels=LABELS guesses one as rsmeta init does, and shows it.

    The run folder gets bundle/ (for predict), metrics.json, history.csv, config.yaml (fully
    resolved), plots/, tensorboard/, and until the run has finished, checkpoints/.

    A sweep section trains every point with every seed, and writes table.md, table.csv,
    runs.csv and the run folders in runs/.
    """
    from rsmeta.config import load_settings

    if output is None and not dry_run:
        raise click.UsageError("Missing option '--output': the run folder (or use --dry-run).")
    if "=" in config and not Path(config).exists():
        settings = _guessed([config, *overrides])
    else:
        settings = load_settings(config, overrides)  # typos are reported before torch is imported
    if output is None or dry_run:
        if settings.sweep is not None:
            _list_runs(config, overrides)
        _list_trainable(settings)
        return
    options["resumable"] = True
    if settings.sweep is not None:
        _sweep(config, overrides, output, resume=resume)
        return
    from rsmeta import train

    result = train(
        settings,
        output=output,
        resume=resume,
        progress=sys.stderr.isatty() and not options["quiet"],
    )
    for part in ("validation", "test"):
        if part in result.metrics:
            click.echo(f"\n{part}:")
            scores(result.metrics[part])
    steps, seconds = result.metrics["steps"], result.metrics["seconds"]
    taken = f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
    trained = f"{steps} steps" if steps else "trained without steps"
    click.echo(f"\n{trained} in {taken}; model: {output / 'bundle'}")
    if settings.per_pixel:
        click.echo(
            f"to map a scene: rsmeta predict SCENE --model {output / 'bundle'} --output MAP.tif"
        )


def _guessed(overrides: Sequence[str]) -> Settings:
    """Return the settings guessed for ``scenes=`` and ``labels=``, under the other overrides."""
    from rsmeta.workflows.init.init import init_overrides, with_overrides

    with guessing():
        draft, rest = init_overrides(overrides)
    click.echo(draft.text)
    return with_overrides(draft, rest)


def _sweep(config: str | Path, overrides: tuple[str, ...], output: Path, *, resume: bool) -> None:
    from rsmeta import sweep
    from rsmeta.errors import RunsFailedError

    try:
        result = sweep(config, overrides, output=output, resume=resume)
    except RunsFailedError as error:
        _show_table(error.result)
        raise
    _show_table(result)


def _show_table(result: SweepResult) -> None:
    from rsmeta.workflows.sweep.table import IN_PARENTHESES, shown

    header, rows = shown(result.rows)
    click.echo()
    show.table(rows, header)
    if any(row.differences for row in result.rows):
        click.echo(f"\n{IN_PARENTHESES}")
    click.echo(f"\ntables: {result.output / 'table.md'}, table.csv, runs.csv; models in runs/")


def _list_runs(config: str | Path, overrides: tuple[str, ...]) -> None:
    from rsmeta.config.sweep_runs import read_sweep

    _, runs = read_sweep(config, overrides)
    click.echo(f"sweep of {len(runs)} runs:")
    for run in runs:
        click.echo(f"  {run.label}")
    click.echo("without the grid:")


def _list_trainable(settings: Settings) -> None:
    from rsmeta import dry_run
    from rsmeta.training.duration import duration_text

    result = dry_run(settings)
    if result.candidates:
        click.echo("would be compared by cross-validation, and the best one trained:")
        for name in result.candidates:
            click.echo(f"  {name}")
        click.echo("and averages of several; nothing was trained or written")
        assert result.seconds is not None
        click.echo(f"this would take about {duration_text(result.seconds)} on this machine")
        return
    if not result.total:
        click.echo(f"the head {settings.model.head.name} would be fitted to the labelled pixels, "
                   "without gradient steps; nothing was trained or written")  # fmt: skip
        return
    show.trainable(result.rows)
    click.echo(
        f"{result.trained:,} of {result.total:,} parameters would be trained "
        f"({result.trained / max(result.total, 1):.2%}); nothing was trained or written"
    )
    if result.seconds is not None:
        click.echo(
            f"training would take up to {result.steps:,} steps, about "
            f"{duration_text(result.seconds)} on this machine"
        )
