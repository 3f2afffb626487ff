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
    """Adapt a pretrained backbone to another sensor, and map with it: minutes, on a CPU.

    The nano backbone knows Sentinel-2-like scenes. A sample landscape is made as Landsat 8 would
    see it; adapters are trained on its west, its east is mapped and compared with the truth.
    """
    from rsmeta.workflows.demo import demo

    result = demo(output, progress=sys.stderr.isatty() and not options["quiet"])
    click.echo(
        "\na backbone pretrained on Sentinel-2-like scenes, adapted to Landsat-8-like ones;\n"
        "its map against the truth, on ground that training never saw:"
    )
    scores(result.scores)
    click.echo(f"\nlook at   {result.picture}")
    click.echo(f"in a GIS  {result.map}")
    click.echo(f"model     {result.bundle}")
    click.echo(f"again     rsmeta predict {result.scene} --model {result.bundle} --output MAP.tif")
