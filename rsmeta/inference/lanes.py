"""Batches through the network side by side: on a CPU each in a lane with threads of its own.

One network on all cores has its threads wait for each other after every layer, and for a core that
reads a file meanwhile. Lanes compute different batches, so that none waits for another.
"""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Lanes(Generic[T]):
    """Calls functions in a number of threads and gives their results in order; a context.

    Args:
        count: Threads.
        beside: Whether a single one is a thread of its own, so that the next batch is filled
            meanwhile; else functions are called where they are given.

    Attributes:
        ahead: Calls that may be under way or waiting when another is given.
    """

    def __init__(self, count: int, *, beside: bool = True) -> None:
        threads = count if beside or count > 1 else 0
        # One waits, so that no lane has to; a single lane begins it when the result is taken.
        self.ahead = threads + (threads > 1)
        self._given: deque[Future[T]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        if threads:
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="rsmeta-score")

    def __enter__(self) -> Lanes[T]:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[[], T]) -> Iterator[T]:
        """Call a function, and yield the oldest results until ``ahead`` calls are left."""
        self._given.append(self._called(function))
        yield from self.rest(leave=self.ahead)

    def rest(self, *, leave: int = 0) -> Iterator[T]:
        """Yield the results of all calls but the last few."""
        while len(self._given) > leave:
            yield self._given.popleft().result()

    def _called(self, function: Callable[[], T]) -> Future[T]:
        if self._pool is not None:
            return self._pool.submit(function)
        done: Future[T] = Future()
        done.set_result(function())
        return done


@contextlib.contextmanager
def threads_per_lane(lanes: int) -> Iterator[None]:
    """Share torch's threads among the lanes that start inside; one lane takes them all."""
    before = torch.get_num_threads()
    if lanes > 1:
        torch.set_num_threads(max(before // lanes, 1))
    try:
        yield
    finally:
        if lanes > 1:
            torch.set_num_threads(before)
