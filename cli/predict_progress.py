"""How a growing map is shown: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from rsmeta.errors import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rsmeta.workflows.mapping.predict_scenes import Progress


@contextlib.contextmanager
def map_progress(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Give a function that shows how far a map is; none if nothing is to be shown."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        with Bar(
            *columns, TextColumn("{task.fields[status]}"), console=Console(stderr=True)
        ) as bar:
            tasks: dict[str, Any] = {}

            def advance(now: Progress) -> None:
                name = now.scene if now.stage == "mapping" else f"{now.scene}: {now.stage}"
                if name not in tasks:
                    tasks[name] = bar.add_task(name, total=now.total_px, status="")
                bar.update(tasks[name], completed=now.done_px, status=_status(now))

            yield advance
    else:
        yield _Lines()


@contextlib.contextmanager
def image_progress(*, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that shows how many images are labelled; none if nothing is to be shown."""
    if quiet:
        yield None
        return
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []

        def advance(done: int, total: int) -> None:
            if not bars:
                bar = click.progressbar(length=total, label="images", file=sys.stderr)
                bars.append(stack.enter_context(bar))
            bars[0].update(done - bars[0].pos)

        yield advance


class _Lines:
    """Echoes a line for each tenth of a scene, and of each later stage."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], int] = {}

    def __call__(self, now: Progress) -> None:
        tenth = now.done_px * 10 // now.total_px
        key = now.scene, now.stage
        if tenth > self._said.get(key, 0):
            self._said[key] = tenth
            stage = "" if now.stage == "mapping" else f"{now.stage} "
            share = now.done_px / now.total_px
            click.echo(f"{now.scene}: {stage}{share:.0%}, {_status(now)}", err=True)


def _status(now: Progress) -> str:
    from rsmeta.workflows.mapping.summary import peak_memory_bytes

    tiles = (
        f"{counted(now.tiles, 'tile')} ({now.skipped:,} empty), " if now.stage == "mapping" else ""
    )
    return (
        f"{_millions(now.done_px)} of {_millions(now.total_px)} Mpx, {tiles}"
        f"{now.px_per_s / 1e6:.2f} Mpx/s, {_duration(now.left_s)} left, "
        f"{peak_memory_bytes() / 1e9:.1f} GB"
    )


def _millions(pixels: int) -> str:
    millions = pixels / 1e6
    return f"{millions:,.1f}" if millions >= 1 else f"{millions:.2g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
