"""``rsmeta inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rsmeta_cli import show

#: Rows that a table shows at most.
_MOST_ROWS = 24


@click.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--page", is_flag=True, help="Write an HTML page of a configuration's data: labels "
              "over imagery, split, counts, band values.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), help="HTML file of --page.")
@click.option("--overwrite", is_flag=True, help="Replace --output if it exists.")
def command(path: str, *, as_json: bool, page: bool, output: Path | None, overwrite: bool) -> None:
    """Describe PATH: a scene, map, label file, bundle, run, checkpoint or configuration."""
    if page:
        from rsmeta.workflows.data_page import data_page

        click.echo(f"page: {data_page(path, output=output, overwrite=overwrite)}")
        return
    if output is not None or overwrite:
        raise click.UsageError("--output and --overwrite go with --page; add it")
    from rsmeta import inspect

    found = inspect(path)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if found.get("spectrum"):
        found["bands"] = f"{len(found['bands'])} (--json lists them)"
        found["values"] = f"of {len(found.get('values', []))} bands (--json lists them)"
    scales, trainable = found.pop("scales", None), found.pop("learns", None)
    _echo(found, indent=0)
    if scales:
        click.echo("scales:")
        show.scales(scales)
    if isinstance(trainable, list):
        click.echo("trainable:")
        show.trainable(trainable)
    elif trainable is not None:
        click.echo(f"trainable: {trainable}")


def _echo(mapping: dict[str, Any], indent: int) -> None:
    """Echo a mapping as indented lines; a list of mappings becomes a table."""
    margin = "  " * indent
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            click.echo(f"{margin}{key}:")
            _echo(value, indent + 1)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            click.echo(f"{margin}{key}:")
            if any(isinstance(cell, dict) for entry in value for cell in entry.values()):
                for entry in value:
                    _echo(entry, indent + 1)
            else:
                _table(value, f"{margin}  ")
        else:
            click.echo(f"{margin}{key}: {_text(value)}")


def _table(entries: list[dict[str, Any]], margin: str) -> None:
    """Echo a row per mapping, without columns that are empty; of many rows the first and last."""
    keys = [key for key in dict.fromkeys(key for entry in entries for key in entry)
            if any(entry.get(key) is not None for entry in entries)]  # fmt: skip
    rows = [[_text(entry.get(key)) for key in keys] for entry in entries]
    if len(rows) > _MOST_ROWS:
        gap = [f"… {len(rows) - _MOST_ROWS} more (--json shows all)", *[""] * (len(keys) - 1)]
        rows = [*rows[: _MOST_ROWS - 2], gap, *rows[-2:]]
    show.table(rows, keys, margin=margin)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value) or "none"
    return str(value)
