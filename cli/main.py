"""``rsmeta``: the command group; turns errors into one line and an exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from importlib import import_module
from typing import Any

import click

from rsmeta import __version__
from rsmeta.errors import RsmetaError, did_you_mean, one_line
from rsmeta.late_compiler import postpone_compiler
from rsmeta.malloc import keep_freed_memory
from rsmeta.quick_import import spare_imports

#: Each command with its line in ``rsmeta --help``; its module is imported on use.
COMMANDS = {
    "init": "Write a configuration for scenes and labels, guessed from the files.",
    "train": "Train a model from a configuration.",
    "pretrain": "Pretrain a backbone on scenes without labels.",
    "predict": "Map scenes with a trained model.",
    "suggest": "Suggest the places of a scene that are worth labelling next.",
    "evaluate": "Score a model or a map against reference labels.",
    "report": "Write an HTML report of a run or a map.",
    "inspect": "Describe a scene, map, label file, bundle, run, checkpoint or configuration.",
    "export": "Export a trained model to another format.",
    "qgis": "Install the QGIS plugin: train and map from the Processing toolbox.",
    "push": "Publish a trained model on the Hugging Face hub.",
    "list": "List the names that a configuration can use.",
    "doctor": "Check the installation: versions, GPU, GDAL, extras, caches, disk, network.",
    "demo": "Adapt a pretrained backbone to sample data and map a scene.",
    "help": "Show the help of a command, or the keys of a section of a configuration.",
}


class LazyGroup(click.Group):
    """Imports the module of a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a typical workflow."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rsmeta_cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the first word, or suggest the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"No such command {args[0]!r}{near or '.'}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rsmeta")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--verbose", is_flag=True, help="Log details: weights files, tensors, bands.")
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, verbose: bool, quiet: bool) -> None:
    """Adapt vision transformers to satellite imagery and map whole scenes.

    The first map takes three commands:

    \b
        rsmeta init SCENE.tif LABELS.gpkg
        rsmeta train config.yaml --output RUN
        rsmeta predict SCENE.tif --model RUN/bundle --output MAP.tif
    """  # noqa: D301 - click takes the character, not its name
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other; use one of them")
    ctx.obj |= {"debug": debug, "quiet": quiet}
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    _set_up_logging(level)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit status 0: done, 1: error, 2: wrong usage, 130: interrupted."""
    if arguments is not None:
        _run(arguments)
        return
    # Of the process: nobody else's, since it was started for this command.
    keep_freed_memory()
    spare_imports()
    postpone_compiler()
    try:
        _run(sys.argv[1:])
    except SystemExit as end:
        _leave_threads(end)
        raise


def _run(given: list[str]) -> None:
    debug = "--debug" in given
    # rsmeta says this itself. Set here once: filters set and reset in several threads get lost.
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    # The group's flags are accepted after the command too.
    flags = [flag for flag in ("--debug", "--verbose") if flag in given]
    words = [*flags, *(word for word in given if word not in flags)]
    options: dict[str, Any] = {"resumable": False}  # a command that has begun to write sets it
    try:
        status: Any = cli.main(words, prog_name="rsmeta", standalone_mode=False, obj=options)
    except (click.exceptions.Abort, KeyboardInterrupt):
        how = "with --resume to continue" if options["resumable"] else "to start over"
        _fail(f"interrupted; run the same command {how}", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except RsmetaError as error:
        if debug:
            raise
        _fail(one_line(error), 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has closed it, as `head` does
        sys.exit(0)
    except OSError as error:  # such as a full disk or a missing permission
        if debug:
            raise
        _fail(f"{one_line(error)}; check disk space and permissions, or use --debug", 1)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _leave_threads(end: SystemExit) -> None:
    """Exit at once if mapping was aborted during a long batch; Python would wait for it."""
    if any(thread.name.startswith("rsmeta-") for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # its reader may have closed it
                stream.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


def _fail(sentence: str, status: int) -> None:
    click.echo(f"rsmeta: {sentence}", err=True)
    sys.exit(status)


class _EchoHandler(logging.Handler):
    """Writes log records to standard error as plain lines, a warning once per command."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, with a prefix for warnings."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            if text in self._warned:
                return
            self._warned.add(text)
            text = f"warning: {text}"
        click.echo(text, err=True)


def _set_up_logging(level: int) -> None:
    logger = logging.getLogger("rsmeta")
    logger.handlers = [_EchoHandler()]
    logger.setLevel(level)
    logger.propagate = False


if __name__ == "__main__":
    main()
