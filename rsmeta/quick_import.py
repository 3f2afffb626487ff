"""Import large packages without looking for garbage, of which importing makes none.

What is imported stays, and yet every collection of all garbage goes through it: 0.1 to 0.4 s each
time. A process that runs nothing but rsmeta can leave it out of them for good.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


_spared = False


def spare_imports() -> None:
    """Let collections go past all that there is after each ``lasting_import`` from now on.

    For the command line alone: what other code in the process drops later would stay too.
    """
    global _spared
    _spared = True


def quick_import(module: str) -> ModuleType:
    """Import a module by its full name, and all that it needs."""
    with without_collection():
        return import_module(module)


def lasting_import(module: str) -> ModuleType:
    """Import a module before there is anything to collect but what imports made."""
    is_new = module not in sys.modules
    with without_collection():
        imported = import_module(module)
        if _spared and is_new:
            gc.freeze()
    return imported


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
