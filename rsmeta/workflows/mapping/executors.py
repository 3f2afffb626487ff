"""Where blocks are computed: by an engine in this process, or by workers of Dask."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rsmeta.errors import BundleError, ConfigError, RsmetaError, one_line
from rsmeta.inference.device import choose_device
from rsmeta.inference.engine import choose_block_px, ready_engine
from rsmeta.workflows.mapping.clusters import connected, processes
from rsmeta.workflows.mapping.worker import compute_block

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterator, Sequence

    from rasterio.windows import Window

    from rsmeta.bundle import BundleRecord, ModelBundle
    from rsmeta.gis.outputs.blocks import BlockMaker, MadeBlock
    from rsmeta.inference.engine import Block, Engine
    from rsmeta.workflows.mapping.request import BlockRequest

#: Blocks queued per thread of a worker: it never idles, and little is lost with it.
_AHEAD = 2
#: Largest side of blocks that are tasks: small enough to share out evenly and to compute again.
_TASK_PX = 1024
#: How long a map waits for a cluster to have a worker, at first and when all are gone.
_PATIENCE_S = 300.0
_POLL_S = 5.0


@dataclass(frozen=True)
class Execution:
    """Where maps are computed.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: Compute in so many processes of this machine; with GPUs, each on one of them.
        dask: Compute on the workers of the Dask scheduler at this address; bundle and scenes have
            the same paths there.
    """

    device: str = "auto"
    workers: int | None = None
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.workers and self.dask is not None:
            raise ConfigError("--workers starts processes and --dask uses others; give one of them")

    @classmethod
    def of(cls, given: Execution | str | None) -> Execution:
        """Return an execution given as it is, or by its device alone."""
        return given if isinstance(given, Execution) else cls(given or "auto")

    def block_px(self, record: BundleRecord) -> int:
        """Return the side of the blocks of a map: as set, or by the memory of all who compute.

        Raises:
            RsmetaError: There is no such device here.
        """
        device = choose_device(self.device if self.dask is None else "cpu")
        side_px = choose_block_px(record, device, processes=self.workers or 1)
        return side_px if self.is_local or record.predict.block_px else min(side_px, _TASK_PX)

    @property
    def is_local(self) -> bool:
        """Whether this process computes."""
        return not self.workers and self.dask is None


class LocalExecutor:
    """Computes blocks in this process.

    Args:
        engine: Its model computes.

    Attributes:
        device: Name of the engine's device.
        batch_size: Tiles at once, at first.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.device = str(engine.device)
        self.batch_size: int | None = engine.batch_size

    @property
    def seconds(self) -> dict[str, float]:
        """Per stage, the time that the last map took."""
        return dict(self._engine.seconds)

    def blocks(
        self, request: BlockRequest, maker: BlockMaker, finished: Container[Window] = ()
    ) -> Generator[MadeBlock, None, None]:
        """Yield the blocks of a map as they come; close it to end all threads.

        Args:
            request: The map.
            maker: Makes what the rasters hold.
            finished: Blocks to leave out.

        Raises:
            RsmetaError: A block cannot be computed.
        """
        blocks = self._engine.run(
            request.plan, (block for block in request.plan.blocks() if block not in finished),
            request.scene, aoi=request.aoi, spill_folder=request.spill_folder,
        )  # fmt: skip
        with contextlib.closing(blocks):
            for block in blocks:
                yield made_block(maker, block)
                del block


class DaskExecutor:
    """Computes blocks on workers; the block of a worker that dies is computed again by another.

    Args:
        client: Dask's client.
        device: What each worker computes on; it loads the model once.
    """

    batch_size: int | None = None
    seconds: dict[str, float] = {}  # noqa: RUF012 - the workers' time is their own

    def __init__(self, client: Any, device: str) -> None:
        self._client = client
        self.device = device

    def blocks(
        self, request: BlockRequest, maker: BlockMaker, finished: Container[Window] = ()
    ) -> Generator[MadeBlock, None, None]:
        """Yield the blocks of a map as they come; a bounded number is under way.

        Args:
            request: The map.
            maker: Makes what the rasters hold.
            finished: Blocks to leave out.

        Raises:
            RsmetaError: A block cannot be computed, or the cluster is lost.
        """
        # Workers have current folders of their own.
        scene = replace(request.scene, source=request.scene.source.absolute())
        model = request.model.absolute() if isinstance(request.model, Path) else request.model
        request = replace(request, scene=scene, model=model)
        left = (block for block in request.plan.blocks() if block not in finished)
        waiting: set[Any] = set()
        last_worker = time.monotonic()
        try:
            while True:
                threads = sum(self._client.nthreads().values())
                last_worker = time.monotonic() if threads else last_worker
                _check_patience(last_worker)
                for window in islice(left, max(_AHEAD * threads - len(waiting), 0)):
                    waiting.add(
                        self._client.submit(
                            _compute, request, self.device, maker, window, pure=False
                        )
                    )
                if threads and not waiting:
                    return
                done = _done(waiting)
                waiting -= done
                for future in done:
                    with _errors_of_dask():
                        block = future.result()
                    yield block
        finally:
            self._client.cancel(list(waiting))


@contextlib.contextmanager
def executor_for(
    bundle: ModelBundle, record: BundleRecord, execution: Execution
) -> Iterator[LocalExecutor | DaskExecutor]:
    """Give what computes blocks with a model.

    Args:
        bundle: The model.
        record: Its record, with the settings to map with.
        execution: Where to compute.

    Raises:
        RsmetaError: There is no such device, or no worker.
    """
    if execution.is_local:
        with ready_engine(bundle, record, choose_device(execution.device)) as engine:
            yield LocalExecutor(engine)
        return
    if bundle.path is None:
        raise BundleError("other processes load the bundle from its folder; save it, and give that")
    if execution.dask is not None:
        with connected(execution.dask) as client:
            yield DaskExecutor(client, execution.device)
        return
    chosen = choose_device(execution.device)
    gpus: Sequence[int] = ()
    if chosen.type == "cuda":
        gpus = range(torch.cuda.device_count()) if chosen.index is None else (chosen.index,)
    with processes(execution.workers or 1, gpus) as client:
        yield DaskExecutor(client, chosen.type)  # each sees one GPU: its first


def made_block(maker: BlockMaker, block: Block) -> MadeBlock:
    """Return what the rasters hold of a block."""
    return maker.made(
        block.scores, block.valid, block.window, tiles=block.tiles, skipped=block.skipped
    )


def _compute(request: BlockRequest, device: str, maker: BlockMaker, window: Window) -> MadeBlock:
    """Compute a block on a worker."""
    failure = None
    try:
        return made_block(maker, compute_block(request, device, window))
    except RsmetaError as error:
        failure = one_line(error)
    # Ours cannot be pickled: they are made of other things than their sentence. Raised where they
    # are handled, they would travel along as its context.
    raise RsmetaError(failure)


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


def _check_patience(last_worker: float) -> None:
    """Refuse to wait on for a cluster that has had no worker for long."""
    if time.monotonic() - last_worker > _PATIENCE_S:
        raise RsmetaError(
            f"the cluster has had no worker for {_PATIENCE_S:.0f} s; start some, and continue "
            f"with --resume"
        )


@contextlib.contextmanager
def _errors_of_dask() -> Iterator[None]:
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise RsmetaError(
            f"a block has ended every worker that took it ({one_line(error)}); if memory was "
            f"short, use --set block_px=512; finished blocks are kept for --resume"
        ) from error
    except (CancelledError, OSError) as error:
        raise RsmetaError(
            f"the connection to Dask was lost ({one_line(error) or type(error).__name__}); "
            f"finished blocks are kept for --resume"
        ) from error
