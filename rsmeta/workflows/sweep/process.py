"""Train one run of a sweep in its own process, on its own device."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rsmeta.errors import OutputError, RsmetaError, counted, one_line
from rsmeta.workflows.run_folder import CONFIG_FILE
from rsmeta.workflows.train import train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from rsmeta.config import Settings

#: Log of a run, in its folder.
LOG_FILE = "log.txt"

_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Place(NamedTuple):
    """Where a run computes: its GPU as CUDA names it (none: the CPU), and its CPU threads."""

    gpu: str | None
    threads: int


class Places:
    """The places where runs compute; each is used by one run at a time.

    Args:
        gpus: GPUs as CUDA names them; empty: all runs use the CPU.
        parallel: Number of places; none: one per GPU, or one.
    """

    def __init__(self, gpus: list[str], parallel: int | None) -> None:
        self.count = parallel or max(len(gpus), 1)
        self.gpus = gpus
        self.threads = max(torch.get_num_threads() // self.count, 1)
        self._free: queue.SimpleQueue[Place] = queue.SimpleQueue()
        for i in range(self.count):
            self._free.put(Place(gpus[i % len(gpus)] if gpus else None, self.threads))
        self._running: set[Any] = set()
        self._stopped = False

    @classmethod
    def of(cls, accelerator: str, parallel: int | None) -> Places:
        """Return the places for a ``trainer.accelerator``."""
        gpus = _gpus() if accelerator in ("auto", "gpu", "cuda") else []
        return cls(gpus, parallel)

    @contextlib.contextmanager
    def one(self) -> Iterator[Place]:
        """Wait for a free place and hold it."""
        place = self._free.get()
        try:
            yield place
        finally:
            self._free.put(place)

    @contextlib.contextmanager
    def watched(self, process: Any) -> Iterator[None]:
        """Keep a running process where ``stop`` finds it, and wait for its end."""
        self._running.add(process)
        if self._stopped:
            process.kill()
        try:
            yield
        finally:
            process.join()
            self._running.discard(process)

    def stop(self) -> None:
        """End all running processes; their runs can be resumed."""
        self._stopped = True
        for process in list(self._running):
            process.kill()

    def __str__(self) -> str:
        on = (
            counted(len(self.gpus), "GPU")
            if self.gpus
            else f"the CPU, {counted(self.threads, 'thread')} each"
        )
        return f"{self.count} at a time on {on}"


def _gpus() -> list[str]:
    if not torch.cuda.is_available():
        return []
    named = os.environ.get(_VISIBLE)
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def train_apart(settings: Settings, folder: Path, places: Places) -> str | None:
    """Train a run in a new process, and resume what its folder holds.

    Args:
        settings: Settings of the run.
        folder: Its run folder; its output goes to ``log.txt`` there.
        places: Where it can compute.

    Returns:
        Why it failed, in one line; none if it finished.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        context = _context()
        with places.one() as place:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(settings, folder, place, sender))
            process.start()
            sender.close()  # so that the end of the process ends the pipe
            with places.watched(process):
                failure: str | None = receiver.recv()
    except EOFError:
        return f"its process died (out of memory?); see {folder / LOG_FILE}"
    except OSError as error:
        return str(OutputError(f"cannot write {folder} ({one_line(error)})"))
    return failure


def _context() -> Any:
    """Return the start method: a fork server that has imported training, where supported."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _work(settings: Settings, folder: Path, place: Place, sender: Connection) -> None:
    """Train in a process of its own, and send what went wrong."""
    _settle(folder / LOG_FILE, place)
    sender.send(_train(settings, folder))


def _settle(log: Path, place: Place) -> None:
    """Set up a run's process: output, device, threads, and exit with the parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("rsmeta").setLevel(logging.INFO)
    if place.gpu is not None:
        os.environ[_VISIBLE] = place.gpu
    torch.set_num_threads(place.threads)


def _end_with_parent() -> None:
    """End this process when the sweep's process is gone, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(settings: Settings, folder: Path) -> str | None:
    """Train; return an error as one line, with details in the log."""
    try:
        train(settings, output=folder, resume=(folder / CONFIG_FILE).exists())
    except RsmetaError as error:
        return one_line(error)
    except Exception as error:  # a defect of one run must not end the others
        traceback.print_exc()
        return f"{type(error).__name__}: {one_line(error)}; see {folder / LOG_FILE}"
    return None
