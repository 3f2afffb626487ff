"""``rsmeta inspect``."""

from __future__ import annotations

import json
from typing import Any

import click

from rsmeta_cli import show


@click.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: str, as_json: bool) -> None:
    """Describe PATH: a scene, a bundle, a run, a checkpoint or a configuration."""
    from rsmeta.workflows.inspect import inspect

    found = inspect(path)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
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
    """Echo a mapping as indented lines; a list of mappings becomes one line each."""
    for key, value in mapping.items():
        head = f"{'  ' * indent}{key}:"
        if isinstance(value, dict) and value:
            click.echo(head)
            _echo(value, indent + 1)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            click.echo(head)
            for entry in value:
                cells = (f"{k} {_text(v)}" for k, v in entry.items() if v is not None)
                click.echo(f"{'  ' * (indent + 1)}- {', '.join(cells)}")
        else:
            click.echo(f"{head} {_text(value)}")


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value) or "none"
    return str(value)
