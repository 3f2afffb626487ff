"""``rsmeta predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rsmeta_cli import show

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("scenes", nargs=-1, required=True)
@click.option("--model", required=True, type=_FILE, help="Bundle folder.")
@click.option("--output", required=True, type=_FILE, help="Map file; a folder for many scenes.")
@click.option("--probabilities", type=_FILE, help="Also write one float band per class.")
@click.option("--confidence", type=_FILE, help="Also write the largest probability.")
@click.option("--bounds", nargs=4, type=float, metavar="W S E N", help="Map this part; degrees.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.pass_obj
def command(options: dict[str, Any], /, **given: Any) -> None:
    """Map SCENES (files, folders or patterns) with a trained model.

    The map lies exactly on the scene's grid: a cloud-optimised GeoTIFF of class values with
    nodata 255, colours and class names. It needs the bundle and the scene, nothing else.
    """
    from rsmeta.workflows.predict import predict

    with show.block_progress(quiet=options["quiet"]) as on_block:
        results = predict(list(given.pop("scenes")), given.pop("model"), on_block=on_block, **given)
    for result in results:
        total = max(sum(result.class_pixels.values()), 1)
        shares = ", ".join(f"{n} {c / total:.1%}" for n, c in result.class_pixels.items())
        skipped = f", {result.skipped} empty tiles skipped" if result.skipped else ""
        click.echo(f"{result.products.classes}: {shares} ({result.seconds:.1f} s{skipped})")
