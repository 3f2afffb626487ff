"""Batches that are read while the one before them is computed with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class AheadLoader(DataLoader[T]):
    """A data loader that is one batch ahead: by a thread, where it has no processes to read.

    What it yields, and in which order, is that of ``DataLoader``; an error comes with its batch.
    The thread ends with the pass, or when that is left.
    The thread must not draw from torch's own random numbers, which training draws from meanwhile.
    """

    def __iter__(self) -> Any:
        batches = super().__iter__()
        return batches if self.num_workers else self._ahead(batches)

    def _ahead(self, batches: Iterator[T]) -> Iterator[T]:
        with ThreadPoolExecutor(1, "read-ahead", _compute_alone) as thread:
            under_way = thread.submit(next, batches, None)
            while (batch := under_way.result()) is not None:
                under_way = thread.submit(next, batches, None)
                yield batch


def _compute_alone() -> None:
    """Let this thread copy alone: a second team of threads would hold up the first."""
    from threadpoolctl import threadpool_limits

    torch.get_num_threads()  # before torch gives the thread a team
    threadpool_limits(limits=1, user_api="openmp")
