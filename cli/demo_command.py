"""``rsmeta demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rsmeta_cli.scores import scores


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
    """Adapt a pretrained backbone to another sensor and map a scene; takes minutes on a CPU.

    The nano backbone was pretrained on other synthetic places. The demo generates a landscape as
    Landsat 8 would see it, trains adapters on its west, maps its east and scores the map against
    the truth.
    """
    from rsmeta.workflows.demo import demo

    result = demo(output, progress=sys.stderr.isatty() and not options["quiet"])
    click.echo(
        "\nA backbone pretrained on other synthetic places was adapted to Landsat-8-like scenes.\n"
        "Accuracy of its map in an area not used for training:"
    )
    scores(result.scores)
    click.echo(
        f"\nMacro F1 on held-out labels of the scene trained on: {result.held_out['model']:.3f}; "
        f"of a random forest on single pixels: {result.held_out['forest']:.3f}"
    )
    click.echo(f"\nreport     {result.report}")
    click.echo(f"picture    {result.picture}")
    if result.scales.exists():
        click.echo(f"scales     {result.scales}")
    click.echo(f"map        {result.map}")
    click.echo(f"model      {result.bundle}")
    click.echo(f"map again  rsmeta predict {result.scene} --model {result.bundle} --output MAP.tif")
