"""``rsmeta push``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("target", metavar="hf:OWNER/NAME")
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option("--licence", "--license", metavar="SPDX", help="Licence to publish it under "
              "[default: that of the backbone].")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the model card, and upload nothing.")
def command(
    bundle: Path, target: str, *, private: bool, licence: str | None, dry_run: bool
) -> None:
    """Publish BUNDLE (or a run) on the Hugging Face hub, with a model card made from it.

    Log in first, with: hf auth login. Others then map with --model hf:OWNER/NAME.
    """
    from rsmeta.workflows.push import card, push

    if dry_run:
        click.echo(card(bundle, target, licence=licence), nl=False)
        return
    click.echo(f"published: {push(bundle, target, private=private, licence=licence)}")
    click.echo(f"to map a scene: rsmeta predict SCENE --model {target} --output MAP.tif")
