"""Names of everything that a configuration can choose: tuners, heads, losses, sensors.

Other packages register theirs through the entry-point group ``rsmeta.<kind>s``. A broken one is
reported in one line that names its package; everything else works without it.
"""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsmeta.errors import PluginError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to things of one kind, filled by decorator and by entry points.

    Args:
        kind: What the things are called in messages, singular (``"head"``).
        base: What they must be instances or subclasses of; none: anything.
    """

    def __init__(self, kind: str, base: type | None = None) -> None:
        self.kind = kind
        self.base = base
        self._things: dict[str, T] = {}
        self._broken: dict[str, PluginError] = {}
        self._plugins_loaded = False

    @property
    def group(self) -> str:
        """The entry-point group of other packages: ``rsmeta.losses``."""
        kind = self.kind.replace(" ", "_")
        if kind.endswith("y"):
            return f"rsmeta.{kind.removesuffix('y')}ies"
        return f"rsmeta.{kind}es" if kind.endswith("s") else f"rsmeta.{kind}s"

    def add(self, name: str, thing: T) -> T:
        """Register ``thing``; registering it again under the same name changes nothing.

        Raises:
            ValueError: The name belongs to something else.
        """
        if self._things.get(name, thing) is not thing:
            raise ValueError(f"the {self.kind} {name!r} is registered already")
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates."""
        return lambda thing: self.add(name, thing)

    def get(self, name: str) -> T:
        """Return the thing of that name; plugins are imported only if they may hold it.

        Raises:
            UnknownNameError: Nothing is registered under ``name``.
            PluginError: Another package offers it, and it cannot be loaded.
        """
        if name not in self:
            if name in self._broken:
                raise self._broken[name]
            raise UnknownNameError(self.kind, name, self._things)
        return self._things[name]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._load_plugins()
        return sorted(self._things)

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield names with what they mean, sorted by name."""
        for name in self.names():
            yield name, self._things[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._things:
            self._load_plugins()
        return name in self._things

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for point in entry_points(group=self.group):
            try:
                self._load(point)
            except (Exception, SystemExit) as error:  # importing a plugin may raise anything
                reason = (
                    error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                )
                package = point.dist.name if point.dist is not None else point.module
                self._broken[point.name] = PluginError(self.kind, point.name, package, reason)
                logger.warning("%s", self._broken[point.name])

    def _load(self, point: EntryPoint) -> None:
        thing: Any = point.load()
        if isinstance(thing, ModuleType):  # its decorators have registered what it holds
            return
        base = self.base
        if base is not None and not (
            isinstance(thing, base) or (isinstance(thing, type) and issubclass(thing, base))
        ):
            raise ValueError(f"{point.value} is not a {base.__name__}")
        self.add(point.name, thing)
