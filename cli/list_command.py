"""``rsmeta list``."""

from __future__ import annotations

import click

from rsmeta.workflows.listing import KINDS
from rsmeta_cli import show


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
def command(kind: str) -> None:
    """List the names that a configuration can use, with a short description."""
    from rsmeta.workflows.listing import listing

    show.table(listing(kind))
