"""``rsmeta init``."""

from __future__ import annotations

import contextlib
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsmeta import Draft

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("scenes", nargs=-1, metavar="SCENE...")
@click.argument("labels")
@click.option("--output", type=_FILE, default="config.yaml", show_default=True,
              help="Configuration to write.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace --output if it exists.")
@click.option("--train", is_flag=True, help="Train at once, into the folder --run.")
@click.option("--run", type=_FILE, default="run", show_default=True, help="Run folder of --train.")
@click.pass_obj
def command(
    options: dict[str, Any],
    scenes: tuple[str, ...],
    labels: str,
    *,
    output: Path,
    overwrite: bool,
    train: bool,
    run: Path,
) -> None:
    """Write a commented configuration for SCENEs and their LABELS.

    Bands or sensor, scale, nodata, class column, classes, chip size and split are guessed from
    the files, and each guess says what was seen. It asks nothing: check the file, then train.

    \b
        rsmeta init scene.tif polygons.gpkg
        rsmeta init 'scene_*.tif' labels.tif --train
        rsmeta init a.tif b.tif '{stem}_labels.tif'       one label raster per scene
    """  # noqa: D301 - click takes the character, not its name
    from rsmeta import init

    with guessing():
        draft = init(*scenes, labels=labels, output=output, overwrite=overwrite)
    click.echo(draft.text)
    click.echo(f"written to {output}")
    if train:
        click.echo(f"training into {run}\n")
        ctx = click.get_current_context().find_root()
        group = ctx.command
        assert isinstance(group, click.Group)
        train_command = group.get_command(ctx, "train")  # no import: train imports this module
        assert train_command is not None
        ctx.invoke(train_command, config=str(output), output=run)
        return
    click.echo(f"\nto train{_how_long(draft)}, and to map a scene:\n")
    click.echo(f"  rsmeta train {_quoted(output)} --output {_quoted(run)}")
    click.echo(
        f"  rsmeta predict {_quoted(draft.scene)} --model {_quoted(run / 'bundle')} "
        f"--output map.tif"
    )


def _how_long(draft: Draft) -> str:
    """Return how long training takes, as a remark, by one fit of each model that it compares."""
    from rsmeta import dry_run
    from rsmeta.training.duration import duration_text

    with guessing():
        seconds = dry_run(draft.settings).seconds
    return "" if seconds is None else f" (about {duration_text(seconds)} on this machine)"


@contextlib.contextmanager
def guessing() -> Iterator[None]:
    """Keep the log of what is only tried out of sight, unless details are asked for."""
    logger = logging.getLogger("rsmeta")
    before = logger.level
    if before > logging.DEBUG:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _quoted(path: object) -> str:
    return shlex.quote(str(path))
