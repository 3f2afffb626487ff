"""Progress of long work: a function that takes the share that is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Takes the share of the work that is done, 0 to 1.
OnProgress = Callable[[float], None]

Item = TypeVar("Item")


def no_progress(share: float) -> None:
    """Ignore progress."""


def split_progress(on_progress: OnProgress, count: int) -> list[OnProgress]:
    """Return for each of ``count`` equal steps what takes the progress of that step."""

    def of_step(step: int) -> OnProgress:
        return lambda share: on_progress((step + share) / count)

    return [of_step(step) for step in range(count)]


def with_progress(items: Iterable[Item], count: int, on_progress: OnProgress) -> Iterator[Item]:
    """Yield ``count`` items; report progress whenever one has been processed."""
    for number, item in enumerate(items, 1):
        yield item
        on_progress(number / count)
