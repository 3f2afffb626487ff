"""Threads joined by bounded queues: each works on what the one before it has made.

A stage is an iterator that runs in a thread of its own, some items ahead of who takes them. An
error in a stage comes out where its items are taken, and so travels to the end of the pipeline;
leaving it, for whatever reason, ends all threads, each at the end of what it is at.

Items are large: whoever has used one, or handed it on, drops it (``del``, or ``map``, which keeps
none) before it asks for the next, which may be long in coming.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

T = TypeVar("T")

_POLL_S = 0.1
#: A thread in a long batch, or in a read from a dead server, is left behind after this time.
_PATIENCE_S = 5.0

#: Prefix of all thread names, so that one left behind can be found.
THREAD_PREFIX = "rsmeta-"


class _Ended:
    """Comes after the last item; with the error that ended a stage, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _StoppedError(Exception):
    """The pipeline has been left."""


class Pipeline:
    """Runs stages; a context that ends their threads.

    Attributes:
        seconds: Per stage, the time it worked: not what it waited for others.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._waited = threading.local()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        until = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def ahead(self, stage: str, items: Generator[T, None, None], depth: int) -> Iterator[T]:
        """Run a stage in a thread, and return what it yields.

        Args:
            stage: Its name, for ``seconds``.
            items: The stage.
            depth: How many items it may be ahead, the one that it is at included.
        """
        made: queue.Queue[Any] = queue.Queue()
        room = threading.Semaphore(depth)
        # No daemon: the interpreter must not end while a thread left behind is inside torch, whose
        # C++ code aborts the process when Python takes the thread down.
        thread = threading.Thread(
            target=self._run, args=(stage, items, made, room), name=f"{THREAD_PREFIX}{stage}"
        )
        self._threads.append(thread)
        thread.start()
        return self._taken(made, room)

    @property
    def waited_s(self) -> float:
        """How long the calling thread has waited for items."""
        waited: float = getattr(self._waited, "seconds", 0.0)
        return waited

    def _run(
        self,
        stage: str,
        items: Generator[Any, None, None],
        made: queue.Queue[Any],
        room: threading.Semaphore,
    ) -> None:
        ended = _Ended()
        try:
            self._wait_for(room)
            for item in self._timed(stage, items):
                made.put(item)
                del item
                self._wait_for(room)
        except _StoppedError:
            pass
        except BaseException as error:  # raised again where the items are taken
            ended = _Ended(error)
        finally:
            items.close()
        made.put(ended)

    def _timed(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        while True:
            started, waited = time.perf_counter(), self.waited_s
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                spent = time.perf_counter() - started
                self.seconds[stage] += spent - (self.waited_s - waited)
            yield item
            del item

    def _taken(self, made: queue.Queue[Any], room: threading.Semaphore) -> Iterator[Any]:
        while True:
            started = time.perf_counter()
            item = self._get(made)
            self._waited.seconds = self.waited_s + time.perf_counter() - started
            if not isinstance(item, _Ended):
                room.release()
                yield item
                del item
            elif item.error is not None:
                raise item.error
            else:
                return

    def _wait_for(self, room: threading.Semaphore) -> None:
        while not self._stopped.is_set():
            if room.acquire(timeout=_POLL_S):
                return
        raise _StoppedError

    def _get(self, made: queue.Queue[Any]) -> Any:
        while not self._stopped.is_set():
            try:
                return made.get(timeout=_POLL_S)
            except queue.Empty:
                continue
        raise _StoppedError
