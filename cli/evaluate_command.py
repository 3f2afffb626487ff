"""``rsmeta evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rsmeta_cli import show_accuracy
from rsmeta_cli.keys import LABEL
from rsmeta_cli.scores import scores

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("config", required=False, type=_FILE)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--model", type=_FILE, help="Bundle, run, or hf:OWNER/NAME; CONFIG describes the data."
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Part of CONFIG's data to score.",
)
@click.option(
    "--augment",
    type=click.Choice(["none", "flips", "all", "five_crop", "ten_crop", "random"]),
    help="Views to average: flips, all (flips and rotations); for image labels also crops "
    "[default: as the bundle maps].",
)
@click.option(
    "--zero-shot",
    is_flag=True,
    help="Without a bundle: classify by class names with CLIP, the backbone of CONFIG.",
)
@click.option("--map", "map_", type=_FILE, help="Map to compare with --reference.")
@click.option("--reference", type=_FILE, help="Label raster, polygons or points, in any CRS.")
@click.option("--class-column", help="Class column of the reference polygons or points.")
@click.option("--ignore", multiple=True, type=LABEL, help="Reference value that means no label.")
@click.option(
    "--draw-sample", type=click.IntRange(min=1), metavar="N",
    help="Draw N random points from the map for labelling, into --output.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Random seed of --draw-sample.")
@click.option("--output", type=_FILE, help="JSON file for the scores, or file for the points.")
@click.option("--overwrite", is_flag=True, help="Replace --output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(config: Path | None, overrides: tuple[str, ...], **given: Any) -> None:
    """Score a model on a part of CONFIG's data, or a map against a reference.

    \b
        rsmeta evaluate --model RUN/bundle CONFIG.yaml [KEY=VALUE ...] [--split PART]
        rsmeta evaluate --zero-shot CONFIG.yaml [KEY=VALUE ...] [--split PART]
        rsmeta evaluate --map MAP.tif --reference LABELS [--class-column NAME]
        rsmeta evaluate --map MAP.tif --draw-sample N --output POINTS.gpkg

    Reference points are treated as a stratified random sample, such as --draw-sample draws:
    accuracy and areas of the whole map are estimated from them, with standard errors.
    """  # noqa: D301 - click takes the character, not its name
    mode = _mode(config, given)
    if mode == "sample":
        _draw(given)
        return
    from rsmeta.geo.writer import check_output
    from rsmeta.workflows.run_folder import write_text

    output = given["output"]
    if output is not None:
        check_output(output, overwrite=given["overwrite"])
        _check_not_an_input(output, config, overrides, given)
    result = _evaluate(mode, config, overrides, given)
    if output is not None:
        write_text(output, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if given["as_json"]:
        click.echo(json.dumps(result, indent=2))
    elif mode == "map":
        show_accuracy.map_accuracy(result)
    else:
        scores(result)


def _mode(config: Path | None, given: dict[str, Any]) -> str:
    """Return the requested mode; anything but exactly one is wrong usage."""
    modes = {
        "model": given["model"] is not None and config is not None,
        "zero_shot": given["zero_shot"] and config is not None and given["model"] is None,
        "map": given["map_"] is not None and given["reference"] is not None,
        "sample": given["map_"] is not None and given["draw_sample"] is not None,
    }
    chosen = [mode for mode, requested in modes.items() if requested]
    if len(chosen) != 1:
        raise click.UsageError(
            "give --model BUNDLE CONFIG, or --zero-shot CONFIG, or --map MAP --reference LABELS, "
            "or --map MAP --draw-sample N"
        )
    if chosen[0] == "sample" and given["output"] is None:
        raise click.UsageError("name the file for the points with --output, e.g. points.gpkg")
    return chosen[0]


def _evaluate(
    mode: str, config: Path | None, overrides: tuple[str, ...], given: dict[str, Any]
) -> dict[str, Any]:
    from rsmeta import evaluate, evaluate_map

    if mode == "map":
        return evaluate_map(
            given["map_"], given["reference"],
            class_column=given["class_column"], ignore=given["ignore"],
        ).as_dict()  # fmt: skip
    assert config is not None
    options = {"split": given["split"], "augment": given["augment"]}
    if mode == "model":
        return evaluate(given["model"], config, overrides, **options).as_dict()
    options["augment"] = given["augment"] or "none"
    from rsmeta import zero_shot

    return zero_shot(config, overrides, **options).as_dict()


def _check_not_an_input(
    output: Path, config: Path | None, overrides: tuple[str, ...], given: dict[str, Any]
) -> None:
    from rsmeta.config import load_settings
    from rsmeta.workflows.evaluate import check_scores_file

    reference = given["reference"]
    named = None if reference is None else str(reference).partition("|")[0]
    settings = None if config is None else load_settings(config, overrides)
    check_scores_file(output, [given["map_"], named, given["model"], config], settings)


def _draw(given: dict[str, Any]) -> None:
    from rsmeta import draw_sample

    drawn = draw_sample(
        given["map_"], given["output"], points=given["draw_sample"], seed=given["seed"],
        overwrite=given["overwrite"],
    )  # fmt: skip
    shares = ", ".join(f"{name} {count}" for name, count in drawn.items())
    click.echo(
        f"{given['output']}: {sum(drawn.values())} points ({shares}); fill in the column class, "
        f"then pass the file as --reference"
    )
