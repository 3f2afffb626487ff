"""Blocks of a map as tasks of Dask: on a cluster, or in processes of this machine."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from rsmeta._version import __version__
from rsmeta.errors import MissingExtraError, RsmetaError, one_line
from rsmeta.workflows.mapping.worker import ModelReference, Work, compute_block

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterator, Mapping, Sequence

    from rasterio.windows import Window

    from rsmeta.gis.outputs.blocks import BlockMaker, MadeBlock

#: Blocks that wait at each thread of a worker: it never idles, and what is lost with it is little.
_AHEAD = 2
_CONNECT_S = 20.0
#: So long a map waits for a cluster to have a worker, at first and when all are gone.
_PATIENCE_S = 300.0
_POLL_S = 5.0


@dataclass(frozen=True)
class BlockTask:
    """What the workers make of blocks; can be pickled.

    Attributes:
        work: What all blocks of the map share.
        maker: Makes what the rasters hold.
    """

    work: Work
    maker: BlockMaker


class Cluster:
    """Computes blocks on workers; a block of a worker that dies is done again by another.

    Args:
        client: Dask's client.
        model: The model; each worker loads it once.
    """

    def __init__(self, client: Any, model: ModelReference) -> None:
        self._client = client
        self._model = model

    def blocks(
        self, task: BlockTask, finished: Container[Window]
    ) -> Generator[MadeBlock, None, None]:
        """Yield blocks as they come; a bounded number is under way.

        Args:
            task: The map.
            finished: Blocks to leave out, in places of the map.

        Raises:
            RsmetaError: A block cannot be computed, or the cluster is lost.
        """
        # Workers have current folders of their own.
        scene = replace(task.work.scene, source=task.work.scene.source.absolute())
        task = replace(task, work=replace(task.work, scene=scene))
        windows = (window for window in task.work.blocks() if window not in finished)
        waiting: set[Any] = set()
        lonely = _Lonely()
        try:
            while True:
                threads = sum(self._client.nthreads().values())
                lonely.check(threads)
                room = max(_AHEAD * threads - len(waiting), 0)
                waiting |= {self._submit(task, window) for window in islice(windows, room)}
                if threads and not waiting:
                    return
                done = _done(waiting)
                waiting -= done
                for future in done:
                    with _errors_said():
                        block = future.result()
                    yield block
        finally:
            self._client.cancel(list(waiting))

    def _submit(self, task: BlockTask, window: Window) -> Any:
        return self._client.submit(_make, self._model, task, window, pure=False)


def _done(waiting: set[Any]) -> set[Any]:
    """Return futures that are done; after some time none."""
    from distributed import wait

    if not waiting:
        time.sleep(_POLL_S)
        return set()
    try:
        done: set[Any] = wait(waiting, timeout=_POLL_S, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return set()
    return done


class _Lonely:
    """Sees how long a cluster has had no worker."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def check(self, threads: int) -> None:
        if threads:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > _PATIENCE_S:
            raise RsmetaError(
                f"the cluster has had no worker for {_PATIENCE_S:.0f} s; start some, and go on "
                f"with --resume"
            )


def _make(model: ModelReference, task: BlockTask, window: Window) -> MadeBlock:
    """Compute a block; this is what a worker does."""
    failure = None
    try:
        block = compute_block(model, task.work, window)
    except RsmetaError as error:
        failure = one_line(error)
    if failure is not None:
        # Ours cannot be pickled: they are made of other things than their sentence. Raised where
        # they are handled, they would travel along as its context.
        raise RsmetaError(failure)
    return task.maker.made(
        block.scores, block.valid, window, tiles=block.tiles, skipped=block.skipped
    )


@contextlib.contextmanager
def _errors_said() -> Iterator[None]:
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise RsmetaError(
            f"a block has ended every worker that took it ({one_line(error)}); if memory was "
            f"short, take --set block_px=512; what is finished is kept for --resume"
        ) from error
    except (CancelledError, OSError) as error:
        raise RsmetaError(
            f"the connection to Dask was lost ({one_line(error) or type(error).__name__}); what is "
            f"finished is kept for --resume"
        ) from error


@contextlib.contextmanager
def connected(address: str, model: ModelReference) -> Iterator[Cluster]:
    """Use the workers of a scheduler.

    Args:
        address: ``tcp://host:port``.
        model: The model; its folder and the scenes lie under the same paths for all workers.

    Raises:
        RsmetaError: There is no scheduler or no worker, or a worker has another rsmeta.
    """
    _need_dask()
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise RsmetaError(
            f"--dask {address}: no scheduler answers ({one_line(error)}); give its address as "
            f"tcp://host:port"
        ) from error
    with client:
        _check_versions(client, address)
        yield Cluster(client, model)


@contextlib.contextmanager
def processes(count: int, model: ModelReference, gpus: Sequence[int]) -> Iterator[Cluster]:
    """Use processes of this machine; they end with the context.

    Args:
        count: How many.
        model: The model; its device is a kind, without number, as each process sees one GPU alone.
        gpus: Numbers of those to share out, as torch counts here; each process sees one of them.

    Raises:
        RsmetaError: They do not start.
    """
    _need_dask()
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    workers = {
        number: {
            "cls": Nanny,
            # Blocks are sized by what is free; Dask's own limit would end workers too early.
            "options": {
                "nthreads": 1, "memory_limit": 0, "dashboard": False,
                "env": worker_environment(number, count, gpus, os.environ),
            },
        }
        for number in range(count)
    }  # fmt: skip
    scheduler = {
        "cls": Scheduler,
        "options": {"dashboard": False, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"},
    }
    settings = {
        "distributed.worker.daemon": False,
        # CUDA cannot be used in forked processes.
        "distributed.worker.multiprocessing-method": "spawn",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        try:
            cluster = stack.enter_context(
                SpecCluster(workers=workers, scheduler=scheduler, silence_logs=40)
            )
            client = stack.enter_context(Client(cluster))
        except (RuntimeError, OSError, TimeoutError) as error:
            raise RsmetaError(
                f"--workers {count}: the processes do not start ({one_line(error)}); a script must "
                f'call rsmeta under if __name__ == "__main__":, as they import it'
            ) from error
        yield Cluster(client, model)


def worker_environment(
    number: int, count: int, gpus: Sequence[int], given: Mapping[str, str]
) -> dict[str, str]:
    """Return what a process is told: its share of the cores, and which GPU it sees.

    Args:
        number: Which of the processes, from 0.
        count: How many there are.
        gpus: Numbers of the GPUs to use, among those that this process sees; none: no GPU.
        given: Environment of this process.
    """
    threads = str(max((os.cpu_count() or 1) // count, 1))
    told = {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name not in given}
    if gpus:
        mine = gpus[number % len(gpus)]
        visible = [name.strip() for name in given.get("CUDA_VISIBLE_DEVICES", "").split(",")]
        told["CUDA_VISIBLE_DEVICES"] = visible[mine] if any(visible) else str(mine)
    return told


def _need_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("distributed", "dask") from None


def _check_versions(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_PATIENCE_S)
        found = client.run(_version)
    except TimeoutError:
        raise RsmetaError(
            f"--dask {address}: there is no worker; start some, e.g. dask worker {address}"
        ) from None
    except Exception as error:  # what unpickling raises where rsmeta is not installed
        raise RsmetaError(
            f"--dask {address}: a worker cannot run rsmeta ({one_line(error)}); install rsmeta "
            f"{__version__} there"
        ) from error
    others = {worker: version for worker, version in found.items() if version != __version__}
    for worker, version in others.items():
        raise RsmetaError(
            f"--dask {address}: the worker {worker} has rsmeta {version}, and this is "
            f"{__version__}; install the same"
        )


def _version() -> str:
    return __version__
