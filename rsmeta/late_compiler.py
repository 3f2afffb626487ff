"""Import torch's compiler when it is first used, and not with timm and torchvision.

They need two of its functions while they are imported: one to except functions from compiling, and
one that is called only where torchvision lacks a kernel. Importing the compiler for these is a
third of a command's start. So while a file that asks for them is imported, a stand-in takes the
compiler's place; its functions import the compiler when they are called. Asked for anything else,
it makes way for the real one at once, so that other versions of the packages work as they do
without it.

A finder on ``sys.meta_path`` does this, and not a call before each ``import timm``: it acts
whatever imports those files first. Only the command line installs it, whose process is its own.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from importlib.machinery import ModuleSpec

#: Files that use the compiler when they are imported.
_READERS = {"timm.models.naflexvit", "torchvision.ops.roi_align", "torchvision.tv_tensors"}


def postpone_compiler() -> None:
    """Let timm and torchvision be imported without torch's compiler from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the files that use the compiler, as long as it has not been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _READERS or not _STAND_INS.keys().isdisjoint(sys.modules):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads a module as another loader does, with stand-ins for the compiler meanwhile."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        with _stand_ins():
            self._own.exec_module(module)


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let imports of the compiler find what stands in for it."""
    sys.modules.update(_STAND_INS)
    try:
        yield
    finally:
        _make_way()


def _make_way() -> None:
    """Let the next import of the compiler find the real one."""
    for name, module in _STAND_INS.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


class _StandIn(ModuleType):
    """Has one function of a module; asked for anything else, it makes way for the module.

    Args:
        name: Of the module.
        function: What it has.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        super().__init__(name)
        setattr(self, function.__name__, function)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's import looks for these
            raise AttributeError(name)
        _make_way()
        return getattr(import_module(self.__name__), name)


def disable(fn: Any = None, recursive: bool = True, **options: Any) -> Any:
    """Except a function from compiling, as torch does for those of its own."""
    import torch

    lazily: Callable[..., Any] | None = getattr(torch, "_disable_dynamo", None)
    if lazily is None:  # a torch that does it in another way
        _make_way()
        at_once: Callable[..., Any] = torch.compiler.disable
        return at_once(fn, recursive, **options)
    return lazily(fn, recursive)


def is_compile_supported(device_type: Any) -> Any:
    """Ask the compiler, which is imported now."""
    from torch._dynamo.utils import is_compile_supported as own

    return own(device_type)


_STAND_INS = {
    "torch._dynamo": _StandIn("torch._dynamo", disable),
    "torch._dynamo.utils": _StandIn("torch._dynamo.utils", is_compile_supported),
}
