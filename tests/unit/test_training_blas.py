"""Small linear algebra stays in one thread, and the number of threads comes back."""

from __future__ import annotations

import scipy.linalg  # noqa: F401 - so that its BLAS is there to be asked
from threadpoolctl import threadpool_info, threadpool_limits

from rsmeta.training.blas import one_blas_thread


def threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_blas_has_one_thread_inside_and_as_many_as_before_outside() -> None:
    inside = one_blas_thread()(threads)
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        assert inside() == {1}
        assert threads() == before
