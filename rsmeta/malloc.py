"""Have the C library keep the memory of dropped arrays for the next ones.

glibc gives a large array back to the system as soon as it is dropped, and asks for as many pages
again with the next batch: up to thousands of page faults per pass of a network. What is set here
lets it keep them. It applies to a whole process, so only programs set it: the command line, and
the processes that ``--workers`` starts. A script that calls rsmeta sets it for itself, by the
same environment variables or by ``keep_freed_memory``.

Source: the GNU C Library Reference Manual, "Malloc Tunable Parameters"; mallopt(3).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    #: (parameter, value) -> 1 if glibc takes it.
    Mallopt = Callable[[int, int], int]

#: By environment variable, the number of mallopt's parameter, and the value.
_SETTINGS = {
    # The heaps of threads beyond the first go back to the system whenever they are empty.
    "MALLOC_ARENA_MAX": (-8, 1),
    # Arrays up to here come from the heap; larger ones always go back. The most glibc takes.
    "MALLOC_MMAP_THRESHOLD_": (-3, 2**25),
    # Only as much free memory as this, at the end of the heap, is given back.
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**30),
}


def keep_freed_memory(mallopt: Mallopt | None = None) -> None:
    """Set this process's allocator; nothing happens without glibc, or where the user has set it.

    Call it before other threads begin: the heaps that they have are theirs for good.

    Args:
        mallopt: glibc's function; none: that of this process.
    """
    call = mallopt or _mallopt()
    if call is None or _is_set(os.environ):
        return
    for parameter, value in _SETTINGS.values():
        call(parameter, value)


def malloc_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the same as environment variables, for a process to be started.

    Args:
        given: Environment of this process; where it sets the allocator, nothing is returned.
    """
    if _is_set(given):
        return {}
    return {name: str(value) for name, (_, value) in _SETTINGS.items()}


def _is_set(environment: Mapping[str, str]) -> bool:
    """Return whether the user has chosen how memory is allocated."""
    by_name = any(name.startswith("MALLOC_") for name in environment)
    return by_name or "glibc.malloc." in environment.get("GLIBC_TUNABLES", "")


def _mallopt() -> Mallopt | None:
    try:
        is_glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # Windows; macOS and musl
        return None
    if not is_glibc:
        return None
    import ctypes

    found: Mallopt = ctypes.CDLL(None).mallopt
    return found
