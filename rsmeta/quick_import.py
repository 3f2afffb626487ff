"""Import large packages without looking for garbage, of which importing makes none."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def quick_import(module: str) -> ModuleType:
    """Import a module by its full name, and all that it needs."""
    with without_collection():
        return import_module(module)


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause Python's collection of cyclic garbage, if it is on."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
