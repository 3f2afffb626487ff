"""``rsmeta``: the command group, and how errors become one line and an exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from importlib import import_module
from typing import Any

import click

from rsmeta import __version__
from rsmeta.errors import RsmetaError, one_line

#: Name of each command and the line that ``rsmeta --help`` shows; its code is imported on use.
COMMANDS = {
    "train": "Train a model from a configuration.",
    "pretrain": "Pretrain a backbone on scenes without labels.",
    "predict": "Map scenes with a trained model.",
    "evaluate": "Compare a model, or a map, with reference labels.",
    "report": "Show a run, or a map, on one HTML page.",
    "inspect": "Describe a scene, a bundle, a run, a checkpoint or a configuration.",
    "export": "Write a trained model in another form.",
    "list": "List what a configuration may name.",
    "demo": "Adapt a pretrained backbone to sample data, and map with it.",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rsmeta_cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rsmeta")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--quiet", is_flag=True, help="Say warnings and errors only.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Adapt vision transformers to satellite imagery, and map whole scenes with them.

    A user's first map takes two commands:

    \b
        rsmeta train CONFIG.yaml --output RUN
        rsmeta predict SCENE.tif --model RUN/bundle --output MAP.tif
    """  # noqa: D301 - click takes the character, not its name
    ctx.obj = {"debug": debug, "quiet": quiet}
    _set_up_logging(logging.WARNING if quiet else logging.INFO)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the exit status is 0 done, 1 a user's error, 2 wrong usage."""
    if arguments is not None:
        _run(arguments)
        return
    try:
        _run(sys.argv[1:])
    except SystemExit as end:
        _leave_threads(end)
        raise


def _run(given: list[str]) -> None:
    debug = "--debug" in given
    try:
        # Where a user looks for --debug is after the command; it is accepted there too.
        words = ["--debug", *(w for w in given if w != "--debug")] if debug else given
        status: Any = cli.main(words, prog_name="rsmeta", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except RsmetaError as error:
        if debug:
            raise
        _fail(one_line(error), 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: that is its right
        sys.exit(0)
    except OSError as error:  # a full disk, a place without permission: not ours to mend
        if debug:
            raise
        _fail(f"{one_line(error)}; free or change that place, or look with --debug", 1)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _leave_threads(end: SystemExit) -> None:
    """End at once if mapping was broken off in a long batch, for which Python would wait."""
    if any(thread.name.startswith("rsmeta-") for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # its reader may have gone away
                stream.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


def _fail(sentence: str, status: int) -> None:
    click.echo(f"rsmeta: {sentence}", err=True)
    sys.exit(status)


class _EchoHandler(logging.Handler):
    """Writes log records to standard error as plain lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; warnings say that they are warnings."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        click.echo(f"{prefix}{record.getMessage()}", err=True)


def _set_up_logging(level: int) -> None:
    logger = logging.getLogger("rsmeta")
    logger.handlers = [_EchoHandler()]
    logger.setLevel(level)
    logger.propagate = False


if __name__ == "__main__":
    main()
