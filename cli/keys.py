"""A command whose help lists every configuration key with its default and meaning."""

from __future__ import annotations

from importlib import import_module

import click


class CommandWithKeys(click.Command):
    """A command with a configuration file."""

    #: Module and class of its settings, imported only to show the help.
    settings = ("rsmeta.config", "Settings")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the keys, section by section."""
        from rsmeta.config.describe import describe_keys

        module, name = self.settings
        for section, keys in describe_keys(getattr(import_module(module), name)):
            with formatter.section(f"{section or 'top level'} keys"):
                formatter.write_dl([(f"{key.path} [{key.default}]", key.help) for key in keys])
