"""``rsmeta evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rsmeta_cli import show_accuracy
from rsmeta_cli.scores import scores

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("config", required=False, type=_FILE)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--model", type=_FILE, help="Bundle folder; CONFIG names the data.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Part of CONFIG's data to compare with.",
)
@click.option("--map", "map_", type=_FILE, help="Map to compare with --reference.")
@click.option("--reference", type=_FILE, help="Label raster, polygons or points, in any CRS.")
@click.option("--class-column", help="Column of the reference polygons or points.")
@click.option("--ignore", multiple=True, type=int, help="Reference value without label.")
@click.option(
    "--draw-sample", type=click.IntRange(min=1), metavar="N",
    help="Draw N points of the map at random, to be interpreted, into --output.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="The same draws the same points.")
@click.option("--output", type=_FILE, help="Also write the numbers as JSON; or the points drawn.")
@click.option("--overwrite", is_flag=True, help="Replace --output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(config: Path | None, overrides: tuple[str, ...], **given: Any) -> None:
    r"""Compare a model with a part of CONFIG's data, or a map with a reference.

    \b
        rsmeta evaluate --model RUN/bundle CONFIG.yaml [KEY=VALUE ...] [--split PART]
        rsmeta evaluate --map MAP.tif --reference LABELS [--class-column NAME]
        rsmeta evaluate --map MAP.tif --draw-sample N --output POINTS.gpkg

    A reference of points is taken for a stratified random sample, as --draw-sample draws it:
    accuracy and areas of the whole map are estimated from it, with standard errors.
    """
    mode = _mode(config, given)
    if mode == "sample":
        _draw(given)
        return
    from rsmeta.geo.writer import check_output
    from rsmeta.workflows.evaluate import evaluate, evaluate_map
    from rsmeta.workflows.run_folder import write_text

    output = given["output"]
    if output is not None:
        check_output(output, overwrite=given["overwrite"])
    if mode == "model":
        assert config is not None
        numbers = evaluate(given["model"], config, overrides, split=given["split"]).as_dict()
    else:
        result = evaluate_map(
            given["map_"], given["reference"],
            class_column=given["class_column"], ignore=given["ignore"],
        )  # fmt: skip
        numbers = result.as_dict()
    if output is not None:
        write_text(output, json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
    if given["as_json"]:
        click.echo(json.dumps(numbers, indent=2))
    elif mode == "map":
        show_accuracy.map_accuracy(numbers)
    else:
        scores(numbers)


def _mode(config: Path | None, given: dict[str, Any]) -> str:
    """Return what is asked for; anything but one thing is wrong usage."""
    asked = {
        "model": given["model"] is not None and config is not None,
        "map": given["map_"] is not None and given["reference"] is not None,
        "sample": given["map_"] is not None and given["draw_sample"] is not None,
    }
    chosen = [mode for mode, is_asked in asked.items() if is_asked]
    if len(chosen) != 1:
        raise click.UsageError(
            "give --model BUNDLE CONFIG, or --map MAP --reference LABELS, or --map MAP "
            "--draw-sample N"
        )
    if chosen[0] == "sample" and given["output"] is None:
        raise click.UsageError("name the file for the points with --output, e.g. points.gpkg")
    return chosen[0]


def _draw(given: dict[str, Any]) -> None:
    from rsmeta.workflows.evaluate import draw_sample

    drawn = draw_sample(
        given["map_"], given["output"], points=given["draw_sample"], seed=given["seed"],
        overwrite=given["overwrite"],
    )  # fmt: skip
    shares = ", ".join(f"{name} {count}" for name, count in drawn.items())
    click.echo(
        f"{given['output']}: {sum(drawn.values())} points ({shares}); fill in the column class, "
        f"then give the file as --reference"
    )
