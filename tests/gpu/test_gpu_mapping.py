"""Maps made on a GPU are those made on a CPU, however full the card is and whoever is killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import torch

import rsmeta
from rsmeta.errors import RsmetaError
from rsmeta.inference import sizing
from rsmeta.inference.optimize import optimised
from rsmeta.inference.scoring import Scorer
from tests.gpu.conftest import make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rsmeta.bundle import ModelBundle

pytestmark = pytest.mark.gpu

#: How far a probability may be off where the network computes in bfloat16.
BFLOAT16 = 2e-2


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "model", depth=4)


def mapped(
    scene: Path,
    bundle: ModelBundle | Path,
    folder: Path,
    device: torch.device | str,
    *,
    workers: int | None = None,
    **more: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes (H, W) and probabilities (K, H, W) of a scene."""
    wanted = rsmeta.Products(folder / "map.tif", probabilities=folder / "shares.tif")
    rsmeta.predict(
        scene, bundle, output=wanted,
        execution=rsmeta.Execution(str(device), workers=workers), **more,
    )  # fmt: skip
    return read(wanted.map)[0], read(folder / "shares.tif")


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        pixels: np.ndarray = raster.read()
    return pixels


@pytest.fixture(scope="module")
def on_cpu(
    scene: Path, bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[np.ndarray, np.ndarray]:
    """The map as the CPU makes it, in float32."""
    return mapped(scene, bundle, tmp_path_factory.mktemp("cpu"), "cpu")


def check_close(
    found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], within: float
) -> None:
    assert np.array_equal(np.isnan(found[1]), np.isnan(expected[1]))
    assert np.nanmax(np.abs(found[1] - expected[1])) <= within
    # only where two classes are as good as equal may another one win
    apart = np.diff(np.sort(expected[1], axis=0)[-2:], axis=0)[0]
    other = found[0] != expected[0]
    assert np.all(apart[other] <= 2 * within)


def test_in_float32_a_map_is_the_cpus(
    scene: Path, bundle: ModelBundle, tmp_path: Path, device: torch.device, on_cpu: Any
) -> None:
    check_close(mapped(scene, bundle, tmp_path, device), on_cpu, 1e-4)


def test_in_bfloat16_a_map_is_the_cpus_within_its_error(
    scene: Path, bundle: ModelBundle, tmp_path: Path, device: torch.device, on_cpu: Any
) -> None:
    found = mapped(scene, bundle, tmp_path, device, settings=["precision=bfloat16"])
    check_close(found, on_cpu, BFLOAT16)
    assert not np.array_equal(found[1], on_cpu[1]), "computed in float32"


def test_float32_stays_float32_on_a_device_with_tf32(
    device: torch.device, bundle: ModelBundle
) -> None:
    """cuDNN may round what convolutions take to ten bits, which is no float32."""
    network = bundle.network.eval()
    image = torch.rand(8, 4, 64, 64)
    valid = torch.ones(8, 64, 64, dtype=torch.bool)
    with torch.inference_mode():
        expected = network.to("cpu")(image, valid)
        model = optimised(network.to(device), torch.nn.Identity(), device)
        found = Scorer(model, device, 8)(image.numpy(), valid.numpy())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=2e-4)


def test_where_tiles_are_blended_changes_nothing(
    scene: Path,
    bundle: ModelBundle,
    tmp_path: Path,
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maps = []
    for name, place in (("device", device), ("host", torch.device("cpu"))):
        monkeypatch.setattr(sizing, "choose_blending", lambda *_, place=place: place)
        maps.append(mapped(scene, bundle, tmp_path / name, device))
    check_close(maps[0], maps[1], 1e-6)


@pytest.mark.parametrize("setting", ["batch_size=1", "batch_size=7", "block_px=64", "augment=all"])
def test_settings_of_size_change_nothing(
    scene: Path, bundle: ModelBundle, tmp_path: Path, device: torch.device, setting: str
) -> None:
    maps = [
        mapped(scene, bundle, tmp_path / name, place, settings=[setting])
        for name, place in (("there", device), ("here", "cpu"))
    ]
    check_close(maps[0], maps[1], 1e-4)


def test_processes_share_one_card(
    scene: Path, bundle: ModelBundle, tmp_path: Path, device: torch.device, on_cpu: Any
) -> None:
    assert bundle.path is not None
    found = mapped(scene, bundle.path, tmp_path, device, workers=2)
    check_close(found, on_cpu, 1e-4)


def test_after_a_kill_a_map_on_the_device_is_resumed(
    scene: Path, bundle: ModelBundle, tmp_path: Path, device: torch.device
) -> None:
    words = [
        "predict", scene, "--model", bundle.path, "--output", tmp_path / "map.tif",
        "--probabilities", tmp_path / "shares.tif", "--device", device,
        "--set", "block_px=64", "--set", "batch_size=4",
    ]  # fmt: skip
    command = [sys.executable, "-m", "rsmeta_cli.main", *map(str, words)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=dict(os.environ)
    ) as child:
        assert child.stderr is not None
        while "Mpx" not in (line := child.stderr.readline()):
            assert line, "it ended before it had finished a block"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "map.tif").exists()
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    whole = mapped(scene, bundle, tmp_path / "whole", device, settings=["block_px=64"])
    check_close((read(tmp_path / "map.tif")[0], read(tmp_path / "shares.tif")), whole, 1e-5)


def full_but(bytes_left: int, gpu: torch.device) -> torch.Tensor:
    """Fill the card with a plain allocation, but for so many bytes."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(gpu)
    return torch.empty(free - bytes_left, dtype=torch.uint8, device=gpu)


def hungry(bytes_per_tile: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a model that takes a known amount of memory."""

    def model(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        taken = torch.empty(len(image), bytes_per_tile, dtype=torch.uint8, device=image.device)
        return image[:, :2] * (1 + 0 * taken[0, 0])

    return model


def test_on_a_full_card_batches_are_halved(
    gpu: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    image = rng.random((16, 4, 32, 32), dtype=np.float32)
    valid = np.ones((16, 32, 32), dtype=bool)
    scorer = Scorer(hungry(2**28), gpu, 16)
    filled = full_but(2**30, gpu)  # room for three tiles, and what CUDA takes for itself
    try:
        with caplog.at_level(logging.WARNING):
            scores = scorer(image, valid)
    finally:
        del filled
        torch.cuda.empty_cache()
    assert scorer.batch_size in (1, 2)
    assert "ran out of memory" in caplog.text
    np.testing.assert_array_equal(scores.cpu().numpy(), image[:, :2])


def test_when_the_tiles_themselves_do_not_fit_batches_are_halved(gpu: torch.device) -> None:
    image = np.ones((64, 16, 1024, 1024), dtype=np.float32)  # 4 GiB
    valid = np.ones((64, 1024, 1024), dtype=bool)
    scorer = Scorer(lambda x, _: x[:, :1, :8, :8].clone(), gpu, 64)
    filled = full_but(2**31, gpu)
    try:
        scores = scorer(image, valid)
    finally:
        del filled
        torch.cuda.empty_cache()
    assert scorer.batch_size < 64
    assert scores.shape == (64, 1, 8, 8)
    assert bool((scores == 1).all())


def test_a_card_without_room_for_one_tile_is_an_error(gpu: torch.device) -> None:
    scorer = Scorer(hungry(2**30), gpu, 2)
    filled = full_but(2**29, gpu)
    try:
        with pytest.raises(RsmetaError, match="memory for a single tile"):
            scorer(np.ones((2, 4, 8, 8), np.float32), np.ones((2, 8, 8), bool))
    finally:
        del filled
        torch.cuda.empty_cache()


def test_a_map_comes_out_whole_from_a_card_that_is_nearly_full(
    scene: Path, bundle: ModelBundle, tmp_path: Path, gpu: torch.device, on_cpu: Any
) -> None:
    mapped(scene, bundle, tmp_path / "warm", gpu)
    filled = full_but(2**28, gpu)
    try:
        found = mapped(scene, bundle, tmp_path, gpu, settings=["batch_size=1024"])
    finally:
        del filled
        torch.cuda.empty_cache()
    check_close(found, on_cpu, 1e-4)


def test_an_array_in_memory_is_mapped_as_its_file(
    scene: Path, bundle: ModelBundle, device: torch.device, on_cpu: Any
) -> None:
    import rioxarray

    array = rioxarray.open_rasterio(scene)
    found = rsmeta.predict(array, bundle, probabilities=True, device=str(device))
    assert np.nanmax(np.abs(found.to_numpy() - on_cpu[1])) <= 1e-4
