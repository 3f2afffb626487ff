"""Names of everything that a configuration can choose: tuners, heads, losses, sensors.

Third parties register through the entry-point group ``rsmeta.<kind>s``; a duplicate name is an
error and an unknown one suggests the nearest.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

from rsmeta.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to things of one kind, filled by decorator and by entry points.

    Args:
        kind: What the things are called in messages, singular (``"head"``).
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        self._plugins_loaded = False

    def add(self, name: str, thing: T) -> T:
        """Register ``thing``; a name can be taken once only.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._things:
            raise ValueError(f"the {self.kind} {name!r} is registered already")
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates."""
        return lambda thing: self.add(name, thing)

    def get(self, name: str) -> T:
        """Return the thing of that name.

        Raises:
            UnknownNameError: Nothing is registered under ``name``.
        """
        self._load_plugins()
        if name not in self._things:
            raise UnknownNameError(self.kind, name, self._things)
        return self._things[name]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._load_plugins()
        return sorted(self._things)

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield names with what they stand for, sorted by name."""
        for name in self.names():
            yield name, self._things[name]

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._things

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        plural = f"{self.kind}es" if self.kind.endswith("s") else f"{self.kind}s"
        for point in entry_points(group=f"rsmeta.{plural}"):
            if point.name not in self._things:
                self.add(point.name, point.load())
