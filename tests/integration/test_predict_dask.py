"""Blocks computed by Dask's workers: the same pixels, whoever computed them, and whoever died."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import torch
from distributed import Client, LocalCluster

import rsmeta
from rsmeta.errors import OutputError, RsmetaError
from rsmeta.geo.scene import open_scene
from rsmeta.malloc import malloc_environment
from rsmeta.workflows.mapping.clusters import processes, worker_environment
from rsmeta.workflows.mapping.executors import Execution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun

SIDE_PX = 320
SETTINGS = ("block_px=64",)
BLOCKS = (SIDE_PX // 64) ** 2


@pytest.fixture
def scene(tmp_path: Path, make_scene: MakeScene) -> Path:
    image = np.random.default_rng(5).normal(1600, 300, (3, SIDE_PX, SIDE_PX)).astype(np.uint16)
    image[:, :70, :70] = 0
    return make_scene(tmp_path / "scene.tif", image, descriptions=("green", "red", "nir"), nodata=0)


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Two worker processes that are started again when they die, and their client."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def loaded_models() -> int:
    from rsmeta.workflows.mapping import worker

    return len(worker._engines)


def compiler_with_timm() -> bool:
    """Import timm, and return whether torch's compiler was imported with it."""
    import timm  # noqa: F401

    return "torch._dynamo" in sys.modules


def on(address: str) -> Execution:
    return Execution("cpu", dask=address)


def arrays(folder: Path) -> list[np.ndarray]:
    found = []
    for name in ("map.tif", "shares.tif"):
        with rasterio.open(folder / name) as dataset:
            found.append(dataset.read())
    return found


def predicted(scene: Path, run: TinyRun, folder: Path, **options: Any) -> list[np.ndarray]:
    wanted = rsmeta.Products(folder / "map.tif", probabilities=folder / "shares.tif")
    rsmeta.predict(
        scene, run.bundle, output=wanted, settings=SETTINGS, **{"execution": "cpu"} | options
    )
    return arrays(folder)


@pytest.mark.slow
def test_processes_of_this_machine_keep_their_memory_and_start_without_the_compiler() -> None:
    """Dask's own setting has them return it after every array, at a third of their time."""
    name = "MALLOC_TRIM_THRESHOLD_"
    wanted = malloc_environment(os.environ).get(name, os.environ.get(name))
    with processes(1, ()) as client:
        assert list(client.run(os.environ.get, name).values()) == [wanted]
        assert list(client.run(compiler_with_timm).values()) == [False]


@pytest.mark.slow
def test_a_killed_worker_costs_no_pixel(
    tiny_run: TinyRun, scene: Path, tmp_path: Path, workers: Any
) -> None:
    local = predicted(scene, tiny_run, tmp_path / "local")
    pids = workers.run(os.getpid)
    seen: list[int] = []

    def kill_one(now: rsmeta.workflows.mapping.predict_scenes.Progress) -> None:
        if not seen:
            os.kill(next(iter(pids.values())), signal.SIGKILL)
        seen.append(now.done_px)

    address = workers.scheduler.address
    remote = predicted(
        scene,
        tiny_run,
        tmp_path / "dask",
        execution=on(address),
        on_progress=kill_one,
    )
    assert len(seen) == BLOCKS, "each block was written once"
    workers.wait_for_workers(2, timeout=60)
    assert set(workers.run(os.getpid).values()) != set(pids.values()), "one has died"
    np.testing.assert_array_equal(local[0], remote[0])
    np.testing.assert_allclose(local[1], remote[1], atol=1e-5)


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(
    tiny_run: TinyRun, scene: Path, tmp_path: Path, workers: Any
) -> None:
    address, seen = workers.scheduler.address, []

    def stop(now: Any) -> None:
        seen.append(now)
        if len(seen) == 5:
            raise OutputError("enough")

    with pytest.raises(OutputError, match="enough"):
        predicted(scene, tiny_run, tmp_path, execution=on(address), on_progress=stop)
    rest: list[Any] = []
    resumed = predicted(
        scene,
        tiny_run,
        tmp_path,
        execution=on(address),
        on_progress=rest.append,
        if_exists="resume",
    )
    assert len(rest) == BLOCKS - 5
    before = workers.run(loaded_models)
    assert any(before.values()), "workers keep their model"
    local = predicted(scene, tiny_run, tmp_path / "local")
    np.testing.assert_array_equal(local[0], resumed[0])


@pytest.mark.slow
def test_processes_of_this_machine(
    rsmeta: Rsmeta, tiny_run: TinyRun, scene: Path, tmp_path: Path
) -> None:
    words = ("predict", scene, "--model", tiny_run.bundle, "--set", *SETTINGS, "--device", "cpu")
    assert rsmeta(*words, "--output", tmp_path / "one.tif").status == 0
    ended = rsmeta(*words, "--output", tmp_path / "two.tif", "--workers", 2)
    assert ended.status == 0, ended.err
    with rasterio.open(tmp_path / "one.tif") as a, rasterio.open(tmp_path / "two.tif") as b:
        np.testing.assert_array_equal(a.read(), b.read())


@pytest.mark.slow
def test_cells_of_a_model_of_whole_images(
    image_run: Path, scene: Path, tmp_path: Path, workers: Any
) -> None:
    """The same as here, from a part of the scene, and what is finished is not done again."""
    wanted: dict[str, Any] = {"settings": ("block_px=64", "stride_px=20"), "execution": "cpu"}
    wanted["aoi"] = bounds_of(scene, 30, 25, 200, 170)
    bundle, address = image_run / "run/bundle", workers.scheduler.address

    def mapped(folder: Path, **options: Any) -> list[np.ndarray]:
        output = rsmeta.Products(folder / "map.tif", probabilities=folder / "shares.tif")
        rsmeta.predict(scene, bundle, output=output, **wanted | options)
        return arrays(folder)

    def stop(now: Any) -> None:
        if now.done_px > 20:
            raise OutputError("enough")

    with pytest.raises(OutputError, match="enough"):
        mapped(tmp_path / "dask", execution=on(address), on_progress=stop)
    local = mapped(tmp_path / "local")
    remote = mapped(tmp_path / "dask", execution=on(address), if_exists="resume")
    assert remote[0].shape == (1, 9, 10)
    np.testing.assert_array_equal(local[0], remote[0])
    np.testing.assert_allclose(local[1], remote[1], atol=1e-5)
    with (
        rasterio.open(tmp_path / "dask/map.tif") as a,
        rasterio.open(tmp_path / "local/map.tif") as b,
    ):
        assert (a.transform, a.crs) == (b.transform, b.crs)


def bounds_of(scene: Path, col: int, row: int, width: int, height: int) -> tuple[float, ...]:
    grid = open_scene(scene).grid.crop(rasterio.windows.Window(col, row, width, height))
    west, south, east, north = grid.bounds_lonlat() or (0, 0, 0, 0)
    return west, south, east, north


@pytest.mark.slow
def test_an_error_on_a_worker_is_said_here(
    tiny_run: TinyRun, scene: Path, tmp_path: Path, workers: Any
) -> None:
    def cut(_: Any) -> None:
        os.truncate(scene, 5000)

    with pytest.raises(RsmetaError, match=r"scene\.tif"):
        predicted(
            scene,
            tiny_run,
            tmp_path,
            execution=on(workers.scheduler.address),
            on_progress=cut,
        )


def test_no_scheduler_is_said(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif")
    assert "no scheduler answers" in rsmeta(*words, "--dask", "nonsense://1").complaint
    both = rsmeta(*words, "--dask", "tcp://127.0.0.1:1", "--workers", 2).complaint
    assert "give one of them" in both


def test_each_process_sees_one_gpu_and_its_share_of_cores() -> None:
    seen = [worker_environment(i, 4, (0, 1), {})["CUDA_VISIBLE_DEVICES"] for i in range(4)]
    assert seen == ["0", "1", "0", "1"]
    given = {"CUDA_VISIBLE_DEVICES": "3, GPU-5,7", "OMP_NUM_THREADS": "7"}
    told = worker_environment(1, 2, (0, 1), given)
    assert told["CUDA_VISIBLE_DEVICES"] == "GPU-5"
    assert "OMP_NUM_THREADS" not in told, "what the user sets stays"
    assert worker_environment(1, 2, (2,), given)["CUDA_VISIBLE_DEVICES"] == "7", "--device cuda:2"
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(0, 1, (), given)


def test_a_gpu_by_its_number_is_the_first_that_a_process_sees(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--device cuda:1``: each process sees that GPU alone, and there it is number 0."""
    begun: list[tuple[Any, ...]] = []

    @contextlib.contextmanager
    def noted(count: int, gpus: Any) -> Iterator[None]:
        begun.append((count, tuple(gpus)))
        raise RsmetaError("no processes")
        yield

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr("rsmeta.workflows.mapping.executors.processes", noted)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(RsmetaError, match="no processes"):
            rsmeta.predict(
                tiny_run.scene, tiny_run.bundle, output=tmp_path / "m.tif",
                execution=Execution(device, workers=2),
            )  # fmt: skip
    assert begun == [(2, (0, 1, 2)), (2, (1,))]
