"""Clusters of Dask: one that runs somewhere, or processes of this machine."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from rsmeta._version import __version__
from rsmeta.errors import MissingExtraError, RsmetaError, one_line
from rsmeta.late_compiler import postpone_compiler
from rsmeta.malloc import malloc_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CONNECT_S = 20.0
#: How long to wait for a first worker.
_PATIENCE_S = 300.0


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give a client of the workers of a scheduler.

    Args:
        address: ``tcp://host:port``.

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
        yield client


@contextlib.contextmanager
def processes(count: int, gpus: Sequence[int]) -> Iterator[Any]:
    """Give a client of new processes of this machine; they end with the context.

    Args:
        count: How many.
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
    before_start = dict(dask.config.get("distributed.nanny.pre-spawn-environ", {}))
    # Dask has processes give memory back at once: for arrays of tiles that is ten times the faults.
    before_start.pop("MALLOC_TRIM_THRESHOLD_", None)
    before_start |= malloc_environment(os.environ)
    settings = {
        "distributed.nanny.pre-spawn-environ": before_start,
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
        client.run(postpone_compiler)
        yield client


def worker_environment(
    number: int, count: int, gpus: Sequence[int], given: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a process: its share of the cores, and which GPU it sees.

    Args:
        number: Which of the processes, from 0.
        count: How many there are.
        gpus: Numbers of the GPUs to use, among those that this process sees; none: no GPU.
        given: Environment of this process.
    """
    threads = str(max((os.cpu_count() or 1) // count, 1))
    environment = {
        name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name not in given
    }
    if gpus:
        mine = gpus[number % len(gpus)]
        visible = [name.strip() for name in given.get("CUDA_VISIBLE_DEVICES", "").split(",")]
        environment["CUDA_VISIBLE_DEVICES"] = visible[mine] if any(visible) else str(mine)
    return environment


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
