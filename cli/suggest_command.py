"""``rsmeta suggest``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rsmeta_cli.predict_progress import map_progress

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("scene")
@click.option("--model", required=True, help="Bundle, run, or hf:OWNER/NAME.")
@click.option("--output", required=True, type=_FILE, help="Places: .gpkg, .geojson or .fgb.")
@click.option("--count", type=click.IntRange(1), default=20, show_default=True,
              help="Number of places.")  # fmt: skip
@click.option("--confidence", type=_FILE,
              help="Confidence or entropy of a finished map; else SCENE is mapped.")  # fmt: skip
@click.option("--labels", type=click.Path(), help="Polygons drawn already; no place touches them.")
@click.option("--overwrite", is_flag=True, help="Replace --output if it exists.")
@click.pass_obj
def command(options: dict[str, Any], /, scene: str, model: str, output: Path, **given: Any) -> None:
    """Suggest the places of SCENE that are worth labelling next.

    They are squares that the model is unsure of and that differ in what the scene shows, the most
    uncertain first. Draw polygons there and train again.

    \b
        rsmeta suggest scene.tif --model run --labels labels.gpkg --output next.gpkg
        rsmeta suggest scene.tif --model run --confidence sure.tif --output next.gpkg
    """  # noqa: D301 - click takes the character, not its name
    from rsmeta.workflows.suggest import suggest

    with map_progress(quiet=options["quiet"]) as on_progress:
        found = suggest(scene, model, output=output, on_progress=on_progress, **given)
    low, high = min(found.uncertainty), max(found.uncertainty)
    click.echo(
        f"{output}: {len(found.uncertainty)} places of {found.size_px} x {found.size_px} px, "
        f"uncertainty {low:.2f} to {high:.2f}"
    )
