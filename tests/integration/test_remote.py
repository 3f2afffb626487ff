"""Scenes behind a network: only what is needed is fetched, faults are retried or said."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster

from tests.integration.web_server import Web, web_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun

SIDE_PX = 1024
TILE_PX = 128


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, make_scene: MakeScene) -> Path:
    """A folder with a cloud-optimised scene that hardly compresses."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    image = rng.integers(500, 3000, (3, SIDE_PX, SIDE_PX)).astype(np.uint16)
    plain = make_scene(folder / "plain.tif", image, descriptions=("green", "red", "nir"))
    with rasterio.open(plain) as dataset:
        copy_raster(
            dataset, folder / "scene.tif", driver="COG", blocksize=TILE_PX, compress="deflate"
        )
    return folder


@pytest.fixture
def web(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    with web_of(pictures) as served:
        yield served


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_a_scene_on_the_web_gives_the_map_of_the_file(
    rsmeta: Rsmeta, tiny_run: TinyRun, pictures: Path, web: Web, tmp_path: Path
) -> None:
    given = ("--model", tiny_run.bundle, "--set", "block_px=256")
    for scene, name in ((pictures / "scene.tif", "local.tif"), (web / "scene.tif", "remote.tif")):
        ended = rsmeta("predict", scene, *given, "--output", tmp_path / name)
        assert ended.status == 0, ended.err
    assert np.array_equal(pixels(tmp_path / "local.tif"), pixels(tmp_path / "remote.tif"))
    size = (pictures / "scene.tif").stat().st_size
    assert web.bytes_of("scene.tif") < 1.05 * size, "blocks fetched their common parts again"
    assert all(method == "HEAD" or sent < size for method, _, sent in web.requests)


def test_of_a_part_only_its_tiles_are_fetched(
    rsmeta: Rsmeta, tiny_run: TinyRun, pictures: Path, web: Web, tmp_path: Path
) -> None:
    with rasterio.open(pictures / "scene.tif") as dataset:
        left, top = dataset.transform @ (500, 500)
        right, bottom = dataset.transform @ (520, 520)
    from rasterio.warp import transform_bounds

    bounds = transform_bounds("EPSG:32633", "EPSG:4326", left, bottom, right, top)
    ended = rsmeta(
        "predict", web / "scene.tif", "--model", tiny_run.bundle, "--bounds", *bounds,
        "--output", tmp_path / "part.tif",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    size = (pictures / "scene.tif").stat().st_size
    # Pixels 500 to 520 and the network's tiles around them lie in four tiles of the file.
    needed = 4 / (SIDE_PX / TILE_PX) ** 2 * size
    assert web.bytes_of("scene.tif") < needed + 150_000
    assert len(web.requests) <= 8


def test_passing_faults_are_retried(
    rsmeta: Rsmeta, tiny_run: TinyRun, web: Web, tmp_path: Path
) -> None:
    web.failing = [503, 429]
    ended = rsmeta(
        "predict", web / "scene.tif", "--model", tiny_run.bundle, "--output", tmp_path / "m.tif"
    )
    assert ended.status == 0, ended.err
    assert not web.failing


def test_what_the_user_sets_is_not_overruled(
    rsmeta: Rsmeta, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    web.failing = [503, 503, 503]
    complaint = rsmeta("inspect", web / "scene.tif").complaint
    assert "refuses for now" in complaint
    assert len(web.failing) == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "no scene at"), (410, "no scene at"), (403, "access is denied"),
        (401, "check the credentials"), (500, "try again later"),
    ],
)  # fmt: skip
def test_refusals_are_said_in_one_line(rsmeta: Rsmeta, web: Web, status: int, said: str) -> None:
    complaint = rsmeta("inspect", web / f"status/{status}/scene.tif?key=secret").complaint
    assert said in complaint
    assert "secret" not in complaint


def test_no_server_and_no_such_host_are_said(rsmeta: Rsmeta) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused = rsmeta("inspect", f"http://127.0.0.1:{port}/scene.tif").complaint
    assert "check the address and the network" in refused
    unknown = rsmeta("inspect", "http://no-such-host.invalid/scene.tif").complaint
    assert "check the address and the network" in unknown


def test_a_server_that_does_not_answer_is_given_up(
    rsmeta: Rsmeta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/scene.tif"
        complaint = rsmeta("inspect", address).complaint
    assert "does not answer in time" in complaint


def test_a_server_that_goes_away_leaves_what_is_finished(
    rsmeta: Rsmeta, tiny_run: TinyRun, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    words = ["predict", web / "scene.tif", "--model", tiny_run.bundle, "--set", "block_px=128"]
    words += ["--set", "batch_size=1", "--output", tmp_path / "m.tif"]
    web.fail_after = 10
    assert "--resume" in rsmeta(*words).complaint
    finished = sorted((tmp_path / ".m.tif.partial").glob("block_*.tif"))
    assert finished
    web.fail_after = None
    assert rsmeta(*words, "--resume").status == 0
    whole = tmp_path / "whole.tif"
    assert rsmeta(*words[:-1], whole).status == 0
    assert np.array_equal(pixels(whole), pixels(tmp_path / "m.tif"))


def test_a_vrt_shows_scenes_on_the_web(
    rsmeta: Rsmeta, tiny_run: TinyRun, pictures: Path, web: Web, tmp_path: Path
) -> None:
    vrt = tmp_path / "scene.vrt"
    copy_raster(web / "scene.tif", vrt, driver="VRT")
    for scene, name in ((pictures / "scene.tif", "local.tif"), (vrt, "vrt.tif")):
        words = ("predict", scene, "--model", tiny_run.bundle, "--output", tmp_path / name)
        assert rsmeta(*words).status == 0
    assert np.array_equal(pixels(tmp_path / "local.tif"), pixels(tmp_path / "vrt.tif"))
