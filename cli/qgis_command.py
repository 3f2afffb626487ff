"""``rsmeta qgis``."""

from __future__ import annotations

import shlex

import click


@click.command()
@click.option("--install", "wanted", flag_value="install", help="Install the plugin and enable it.")
@click.option("--uninstall", "wanted", flag_value="uninstall", help="Remove the plugin.")
@click.option("--profile", metavar="NAME", help="Profile of QGIS, by name or folder [default: "
              "the one that QGIS starts with].")  # fmt: skip
def command(wanted: str | None, profile: str | None) -> None:
    """Install the QGIS plugin: train and map from the Processing toolbox.

    The plugin remembers the environment of this rsmeta and runs it from there; the Python of QGIS
    needs no packages. Without --install or --uninstall, says what is installed.
    """
    from rsmeta_cli.qgis_profiles import find_profile, install, installed_command, uninstall

    if wanted == "install":
        found = install(profile)
        click.echo(f"installed into the profile {found.folder}")
        click.echo("restart QGIS; then: Processing Toolbox, rsmeta")
    elif wanted == "uninstall":
        click.echo(f"removed from the profile {uninstall(profile).folder}")
    else:
        found = find_profile(profile)
        started = installed_command(found)
        click.echo(f"profile    {found.folder}")
        click.echo(f"installed  {'no: rsmeta qgis --install' if started is None else 'yes'}")
        if started is not None:
            click.echo(f"runs       {shlex.join(started)}")
