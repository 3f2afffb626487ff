"""A command whose help ends with every configuration key, default and meaning."""

from __future__ import annotations

from importlib import import_module

import click


class CommandWithKeys(click.Command):
    """A command that takes a configuration."""

    #: Module and class of its settings, imported when the help is shown.
    settings = ("rsmeta.config", "Settings")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the keys by section."""
        from rsmeta.config.describe import describe_keys

        module, name = self.settings
        for section, keys in describe_keys(getattr(import_module(module), name)):
            with formatter.section(f"{section or 'top level'} keys"):
                formatter.write_dl([(f"{key.path} [{key.default}]", key.help) for key in keys])
