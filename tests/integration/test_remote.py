"""Scenes behind a network: only what is needed is fetched, faults are retried or said."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster

from rsmeta.geo.handles import file_states
from rsmeta.geo.remote import DEFAULTS
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
    web.fail_after = 18
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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent for a second is given up."""
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("share", [None, 0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_server_that_falls_silent_is_asked_again(
    rsmeta: Rsmeta, tiny_run: TinyRun, pictures: Path, web: Web, tmp_path: Path,
    share: float | None,
) -> None:  # fmt: skip
    """At once, and in the middle: before the answer, after its head, or in its body."""
    given = ("--model", tiny_run.bundle, "--set", "block_px=256")
    web.stalling = {0: share, 6: share}
    remote = rsmeta("predict", web / "scene.tif", *given, "--output", tmp_path / "remote.tif")
    assert remote.status == 0, remote.err
    assert web.stalled == 2
    local = rsmeta("predict", pictures / "scene.tif", *given, "--output", tmp_path / "local.tif")
    assert local.status == 0, local.err
    assert np.array_equal(pixels(tmp_path / "local.tif"), pixels(tmp_path / "remote.tif"))


@pytest.mark.usefixtures("impatient")
def test_without_retries_silence_is_an_error_at_once(
    rsmeta: Rsmeta, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    web.stall_after = 0
    complaint = rsmeta("inspect", web / "scene.tif").complaint
    assert "does not answer in time" in complaint
    ours, web.stalled = web.stalled, 0
    options = {**DEFAULTS, "GDAL_HTTP_MAX_RETRY": "0", "GDAL_HTTP_LOW_SPEED_TIME": "1"}
    with rasterio.Env(**options), pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open(f"/vsicurl/{web / 'other.tif'}")
    assert ours == web.stalled, "as many as GDAL itself needs, which differs by its version"
    web.stall_after = None
    assert rsmeta("inspect", web / "scene.tif").status == 0, "that it failed was kept"


AS_LIBRARY = """
import sys
import rsmeta
from rsmeta.errors import RsmetaError

scene, bundle, output = sys.argv[1:]
try:
    rsmeta.predict(scene, bundle, output=output, settings=["block_px=128", "batch_size=1"])
except RsmetaError as error:
    sys.exit(f"rsmeta: {error}")
"""


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_server_silent_for_good_holds_no_process(
    rsmeta: Rsmeta, tiny_run: TinyRun, web: Web, tmp_path: Path
) -> None:
    """Not even one that imports rsmeta, whose end waits for the threads that read."""
    words = [web / "scene.tif", tiny_run.bundle, tmp_path / "m.tif"]
    web.stall_after = 10
    ended = subprocess.run(
        [sys.executable, "-c", AS_LIBRARY, *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("rsmeta: cannot reach http://")
    assert "--resume" in ended.stderr.splitlines()[-1]
    web.stall_after = None
    again = rsmeta(
        "predict", words[0], "--model", words[1], "--output", words[2], "--resume",
        "--set", "block_px=128", "--set", "batch_size=1",
    )  # fmt: skip
    assert again.status == 0, again.err


@pytest.mark.parametrize("says_etag", [True, False])
def test_a_remote_scene_that_has_changed_is_not_gone_on_with(
    rsmeta: Rsmeta, tiny_run: TinyRun, pictures: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, says_etag: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    folder = tmp_path / "web"
    folder.mkdir()
    scene = folder / "scene.tif"
    shutil.copy(pictures / "scene.tif", scene)
    with web_of(folder) as web:
        web.says_etag = says_etag
        words = ["predict", web / "scene.tif?key=secret", "--model", tiny_run.bundle]
        words += ["--set", "block_px=128", "--set", "batch_size=1", "--output", tmp_path / "m.tif"]
        web.fail_after = 18
        assert "--resume" in rsmeta(*words).complaint
        web.fail_after = None
        raw = bytearray(scene.read_bytes())
        raw[-1000] ^= 1
        scene.write_bytes(raw if says_etag else raw + b"more")
        complaint = rsmeta(*words, "--resume").complaint
        what = "ETag" if says_etag else "size"
        assert f"begun with another scene, files, {web / 'scene.tif'}, {what} (" in complaint
        assert "secret" not in complaint
        shutil.copy(pictures / "scene.tif", scene)
        assert rsmeta(*words, "--resume").status == 0


def test_files_behind_a_vrt_are_known_again(pictures: Path, web: Web, tmp_path: Path) -> None:
    vrt = tmp_path / "scene.vrt"
    copy_raster(web / "scene.tif", vrt, driver="VRT")
    known = file_states(str(vrt))
    assert list(known) == [str(vrt), web / "scene.tif"]
    assert known[web / "scene.tif"]["size"] == str((pictures / "scene.tif").stat().st_size)
    assert set(known[web / "scene.tif"]) == {"size", "ETag"}
