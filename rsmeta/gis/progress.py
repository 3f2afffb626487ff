"""How much of a long piece of work is done, told to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Takes the share of the work that is done, 0 to 1.
Tell = Callable[[float], None]

Item = TypeVar("Item")


def silent(share: float) -> None:
    """Tell nobody."""


def in_steps(tell: Tell, count: int) -> list[Tell]:
    """Return for each of ``count`` steps what takes the share of that step."""

    def telling(step: int) -> Tell:
        return lambda share: tell((step + share) / count)

    return [telling(step) for step in range(count)]


def watched(items: Iterable[Item], count: int, tell: Tell) -> Iterator[Item]:
    """Yield ``count`` items; whenever one has been worked on this is told."""
    for number, item in enumerate(items, 1):
        yield item
        tell(number / count)
