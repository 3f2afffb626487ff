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
@click.option("--real", is_flag=True, help="Map a public Sentinel-2 scene; fetches 11 MB.")
@click.option("--source", metavar="URL|FOLDER", help="Copy of the data of --real.")
@click.pass_obj
def command(options: dict[str, Any], output: Path, *, real: bool, source: str | None) -> None:
    """Adapt a pretrained backbone to another sensor and map a scene; takes minutes on a CPU.

    The nano backbone was pretrained on other synthetic places. The demo generates a landscape as
    Landsat 8 would see it, trains adapters on its west, maps its east and scores the map against
    the truth.

    --real fetches a scene of the benchmarks with 23 polygons, checks it against its checksums,
    guesses a configuration, compares models, maps the scene with the best one, and writes a
    report.
    """
    if source is not None and not real:
        raise click.UsageError("--source belongs to --real")
    from rsmeta.workflows.demo import demo

    progress = sys.stderr.isatty() and not options["quiet"]
    if real:
        _real(output, source, progress=progress)
        return
    result = demo(output, progress=progress)
    click.echo(
        "\nA backbone pretrained on other synthetic places was adapted to Landsat-8-like scenes.\n"
        "Accuracy of its map in an area not used for training:"
    )
    scores(result.scores)
    held_out = result.held_out
    click.echo(
        f"\nMacro F1 on held-out labels of the scene trained on: {held_out['model']:.3f}; "
        f"of a random forest on single pixels: {held_out['forest']:.3f}; "
        f"of model: auto, the default: {held_out['auto']:.3f}"
    )
    click.echo(f"\nreport     {result.report}")
    click.echo(f"picture    {result.picture}")
    if result.scales.exists():
        click.echo(f"scales     {result.scales}")
    click.echo(f"map        {result.map}")
    click.echo(f"model      {result.bundle}")
    click.echo(f"map again  rsmeta predict {result.scene} --model {result.bundle} --output MAP.tif")


def _real(output: Path, source: str | None, *, progress: bool) -> None:
    from rsmeta.workflows.demo import real_demo

    result = real_demo(output, source=source, progress=progress)
    click.echo(f"\n{result.public.title}\n{result.public.licence}")
    click.echo(
        f"chosen: {result.chosen}; macro F1 on held-out polygons {result.held_out['model']:.3f}, "
        f"of a random forest on single pixels {result.held_out['forest']:.3f}"
    )
    click.echo(f"\nreport     {result.report}")
    click.echo(f"picture    {result.picture}")
    click.echo(f"map        {result.map}")
    click.echo(f"config     {result.config}")
    click.echo(f"model      {result.bundle}")
