"""``rsmeta report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rsmeta_cli.keys import LABEL

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN|MAP...", type=_FILE)
@click.option("--output", type=_FILE, help="HTML file; default: RUN/report.html, or MAP.html.")
@click.option("--scene", help="Imagery below the map; default: its source in the same folder.")
@click.option("--confidence", type=_FILE, help="Confidence raster; default: the one beside it.")
@click.option("--reference", type=_FILE, help="Labels or points to compare the map with.")
@click.option("--class-column", help="Class column of the reference polygons or points.")
@click.option("--ignore", multiple=True, type=LABEL, help="Reference value that means no label.")
@click.option("--overwrite", is_flag=True, help="Replace the report if it exists.")
def command(paths: tuple[Path, ...], **given: Any) -> None:
    """Write an HTML report of a run folder, a map, or one of each.

    \b
        rsmeta report RUN
        rsmeta report MAP.tif --scene SCENE.tif [--reference LABELS]
        rsmeta report RUN MAP.tif

    The report is one self-contained file: the map over its imagery with zoom and pan, class areas,
    confidence, accuracy, training curves, learned scales, settings and provenance.
    """  # noqa: D301 - click takes the character, not its name
    from rsmeta import MapSources, report

    output, overwrite = given.pop("output"), given.pop("overwrite")
    page = report(*paths, output=output, sources=MapSources(**given), overwrite=overwrite)
    click.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB; open it in any browser")
