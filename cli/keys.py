"""What commands share: help of configuration keys, and values of labels as options."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rsmeta.config.describe import Key


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

#: What each section of a configuration is about, in the order of the help.
_ABOUT = {
    "": "seed, task and others outside of sections",
    "data": "scenes or images, labels, classes, split, chips",
    "model": "backbone, stem and head; none: auto",
    "tuner": "what is trained in the backbone, and how",
    "meta": "how the scales of adapters are learned",
    "loss": "what is minimised",
    "trainer": "length, optimizer, devices",
    "predict": "how maps are made",
    "sweep": "training over seeds and a grid",
    "mask": "what is hidden from the autoencoder",
}


class CommandWithKeys(click.Command):
    """A command with a configuration file; its help names the sections, not every key."""

    #: Module and class of its settings, imported only to show their keys.
    settings = ("rsmeta.config", "Settings")

    def sections(self) -> dict[str, list[Key]]:
        """Return the keys by section; '' is the top level."""
        from rsmeta.config.describe import describe_keys

        module, name = self.settings
        return dict(describe_keys(getattr(import_module(module), name)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, and how to see their keys."""
        word = "help" if ctx.info_name == "train" else f"help {ctx.info_name}"
        names = [name for name in self.sections() if "(" not in name and name]
        with formatter.section("Sections of CONFIG"):
            formatter.write_dl([(name, _ABOUT.get(name, "")) for name in names])
        formatter.write_paragraph()
        formatter.write_text(
            f"Keys of a section: rsmeta {word} data. One key: rsmeta {word} data.chip_px. "
            f"All keys: rsmeta {word} all."
        )
