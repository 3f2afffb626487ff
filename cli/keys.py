"""What commands share: a help of every configuration key, and values of labels as options."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


class _Label(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click
    """A number, or the name of a class."""

    name = "value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        """Return the number, else the text."""
        try:
            return float(value)
        except ValueError:
            return str(value)


LABEL = _Label()


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
