"""``rsmeta doctor``."""

from __future__ import annotations

import json

import click

from rsmeta_cli import show


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-network", is_flag=True, help="Do not try to reach the hub of weights.")
def command(*, as_json: bool, no_network: bool) -> None:
    """Check the installation: versions, GPU, GDAL, extras, caches, disk, network.

    Paste the output into a bug report. Ends with status 1 if something must be mended.
    """
    from rsmeta.workflows.doctor import doctor

    found = doctor(network=not no_network)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for section, entries in found.items():
            if isinstance(entries, dict):
                click.echo(f"{section}:")
                show.table([(name, str(value)) for name, value in entries.items()], margin="  ")
        click.echo("problems:" if found["problems"] else "problems: none")
        for problem in found["problems"]:
            click.echo(f"  {problem}")
    if found["problems"]:
        click.get_current_context().exit(1)
