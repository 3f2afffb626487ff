"""``rsmeta predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsmeta.errors import ScenesFailedError
from rsmeta_cli.predict_progress import map_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.workflows.predict import PredictResult

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("scenes", nargs=-1, required=True)
@click.option("--model", required=True, type=_FILE, help="Bundle folder.")
@click.option("--output", required=True, type=_FILE, help="Map file; a folder for many scenes.")
@click.option("--probabilities", type=_FILE, help="Also write one float band per class.")
@click.option("--confidence", type=_FILE, help="Also write the largest probability.")
@click.option("--summary", type=_FILE, help="Also write what came of it, as JSON.")
@click.option("--bounds", nargs=4, type=float, metavar="W S E N", help="Map this part; degrees.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--optimize", type=click.IntRange(0, 2),
    help="Speed for exactness. 1: bfloat16 where the device has it; 2: compiled too.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run was interrupted.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="Overrule a predict setting of the bundle, e.g. batch_size=4; may be repeated.",
)  # fmt: skip
@click.pass_obj
def command(options: dict[str, Any], /, **given: Any) -> None:
    """Map SCENES (files, folders, patterns or @lists of them) with a trained model.

    The map lies exactly on the scene's grid: a cloud-optimised GeoTIFF of class values with
    nodata 255, colours and class names. It needs the bundle and the scene, nothing else.
    """
    from rsmeta.workflows.predict import predict

    scenes, model = list(given.pop("scenes")), given.pop("model")
    level = given.pop("optimize")
    if level is not None:
        given["settings"] = (*given["settings"], f"optimize={level}")
    try:
        with map_progress(quiet=options["quiet"]) as on_progress:
            results = predict(scenes, model, on_progress=on_progress, **given)
    except ScenesFailedError as error:
        _show(error.results)
        raise
    _show(results)


def _show(results: Sequence[PredictResult]) -> None:
    for result in results:
        if result.status == "kept":
            click.echo(f"{result.products.classes}: was finished already")
            continue
        total = max(sum(result.class_pixels.values()), 1)
        shares = ", ".join(f"{n} {c / total:.1%}" for n, c in result.class_pixels.items())
        skipped = f", {result.skipped} empty tiles skipped" if result.skipped else ""
        click.echo(f"{result.products.classes}: {shares} ({result.seconds:.1f} s{skipped})")
