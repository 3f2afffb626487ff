"""Small linear algebra in one thread."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS, as NumPy and SciPy call it, in one thread; usable as a decorator.

    The matrices of a few hundred features are too small to share: threads that wait for each other
    took twice the time of one, on two cores without other work.
    """
    import scipy.linalg  # noqa: F401 - its BLAS is a library of its own, limited once it is loaded
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
