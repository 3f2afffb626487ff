"""Large arrays whose memory goes back to the system as soon as they are dropped."""

from __future__ import annotations

import mmap
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# Python's default would share the pages with child processes, and the system makes no large pages
# of shared ones; Windows knows neither.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)


def large_array(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, Any]:
    """Return an array of zeros with pages of its own.

    ``malloc`` would keep it in pieces, and each thread its own, so that the memory of a long run
    would creep up. Large pages make the first touch cheap.
    """
    kind = np.dtype(dtype)
    pages = mmap.mmap(-1, max(prod(shape) * kind.itemsize, 1), **_PRIVATE)
    if _HUGE_PAGES is not None:
        pages.madvise(_HUGE_PAGES)
    return np.frombuffer(pages, kind, prod(shape)).reshape(shape)
