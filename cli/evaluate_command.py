"""``rsmeta evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

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
@click.option(
    "--augment",
    type=click.Choice(["none", "flips", "all", "five_crop", "ten_crop", "random"]),
    default="none",
    show_default=True,
    help="Views to average: mirrored, turned too; of whole images also parts of them.",
)
@click.option(
    "--zero-shot",
    is_flag=True,
    help="Without a bundle: let CLIP, the backbone of CONFIG, tell the classes by their names.",
)
@click.option("--map", "map_", type=_FILE, help="Map to compare with --reference.")
@click.option("--reference", type=_FILE, help="Label raster or polygons, in any CRS.")
@click.option("--class-column", help="Column of the reference polygons.")
@click.option("--ignore", multiple=True, type=int, help="Reference value without label.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(config: Path | None, overrides: tuple[str, ...], **given: Any) -> None:
    r"""Compare a model with a part of CONFIG's data, or a map with reference labels.

    \b
        rsmeta evaluate --model RUN/bundle CONFIG.yaml [KEY=VALUE ...] [--split PART]
        rsmeta evaluate --zero-shot CONFIG.yaml [KEY=VALUE ...] [--split PART]
        rsmeta evaluate --map MAP.tif --reference LABELS [--class-column NAME]
    """
    by_model = given["model"] is not None and config is not None
    by_map = given["map_"] is not None and given["reference"] is not None
    by_words = given["zero_shot"] and config is not None and given["model"] is None
    if by_model + by_map + by_words != 1:
        raise click.UsageError(
            "give --model BUNDLE CONFIG, or --zero-shot CONFIG, or --map MAP --reference LABELS"
        )
    from rsmeta.workflows.evaluate import evaluate, evaluate_map

    how = {"split": given["split"], "augment": given["augment"]}
    if by_model:
        assert config is not None
        result = evaluate(given["model"], config, overrides, **how)
    elif by_words:
        from rsmeta.workflows.zero_shot import zero_shot

        assert config is not None
        result = zero_shot(config, overrides, **how)
    else:
        result = evaluate_map(
            given["map_"],
            given["reference"],
            class_column=given["class_column"],
            ignore=given["ignore"],
        )
    numbers = result.as_dict()
    if given["as_json"]:
        click.echo(json.dumps(numbers, indent=2))
    else:
        scores(numbers)
