"""``rsmeta demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rsmeta_cli import show


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("rsmeta_demo"),
    show_default=True,
    help="Folder for the sample data, the run and the map.",
)
@click.pass_obj
def command(options: dict[str, Any], output: Path) -> None:
    """Make a sample landscape, train on its west, map its east: minutes, on a CPU."""
    from rsmeta.workflows.demo import demo

    result = demo(output, progress=sys.stderr.isatty() and not options["quiet"])
    click.echo("\nthe map against the truth, on ground that training never saw:")
    show.scores(result.scores)
    click.echo(f"\nlook at   {result.picture}")
    click.echo(f"in a GIS  {result.map}")
    click.echo(f"model     {result.bundle}")
    click.echo(f"again     rsmeta predict {result.scene} --model {result.bundle} --output MAP.tif")
