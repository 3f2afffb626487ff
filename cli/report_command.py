"""``rsmeta report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="RUN|MAP...", type=_FILE)
@click.option("--output", type=_FILE, help="The page; default: RUN/report.html, or MAP.html.")
@click.option("--scene", help="Imagery below the map; default: the map's source, if beside it.")
@click.option("--confidence", type=_FILE, help="The map's confidence; default: that beside it.")
@click.option("--reference", type=_FILE, help="Labels or points to compare the map with.")
@click.option("--class-column", help="Column of the reference polygons or points.")
@click.option("--ignore", multiple=True, type=int, help="Reference value without label.")
@click.option("--overwrite", is_flag=True, help="Replace the page if it exists.")
def command(paths: tuple[Path, ...], **given: Any) -> None:
    """Write one HTML page about a run folder, a map, or one of each.

    \b
        rsmeta report RUN
        rsmeta report MAP.tif --scene SCENE.tif [--reference LABELS]
        rsmeta report RUN MAP.tif

    The page holds all that it shows and loads nothing: the map over its imagery, to zoom and pan,
    class areas, confidence, accuracy, training curves, learned scales, settings and provenance.
    """  # noqa: D301 - click takes the character, not its name
    from rsmeta.workflows.report import MapSources, report

    output, overwrite = given.pop("output"), given.pop("overwrite")
    page = report(*paths, output=output, sources=MapSources(**given), overwrite=overwrite)
    click.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB, to be opened in any browser")
