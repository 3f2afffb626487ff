"""``rsmeta list``."""

from __future__ import annotations

import click

from rsmeta.workflows.listing import KINDS
from rsmeta_cli import show


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
def command(kind: str) -> None:
    """List the names that a configuration may use, with a line each."""
    from rsmeta.workflows.listing import listing

    show.table(listing(kind))
