"""``rsmeta demo --real``: a public scene is fetched once, checked, trained on and mapped."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from rsmeta.errors import SceneError, SceneUnreachableError
from rsmeta.files import file_sha256
from rsmeta.workflows import demo as module
from rsmeta.workflows.public_scenes import BEAUFORT, PublicFile, PublicScene, fetch_scene
from tests.conftest import SOME_PLACE
from tests.integration.web_server import web_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta

SIDE = 72
NAMES = ("B02", "B03", "B04", "B08")


@pytest.fixture
def web_folder(tmp_path: Path) -> Path:
    return tmp_path / "web"


@pytest.fixture
def public(make_scene: MakeScene, web_folder: Path) -> PublicScene:
    """A stand-in for the published files: four bands, polygons of two classes."""
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:SIDE, :SIDE]
    classes = (row // 12 + col // 12) % 2
    bands = {}
    for i, name in enumerate(NAMES):
        values = rng.normal(60 + 20 * i + 25 * classes * (i % 2), 6)
        file = make_scene(web_folder / "data" / f"2018, L1C, {name}.tiff", values.astype(np.uint8))
        bands[name] = _described(file, web_folder)
    boxes, kinds = [], []
    for i in range(6):
        for j in range(6):
            left, top = SOME_PLACE * (12 * j + 2, 12 * i + 2)
            boxes.append(shapely.box(left, top - 8 * SOME_PLACE.a, left + 8 * SOME_PLACE.a, top))
            kinds.append(("field", "meadow")[(i + j) % 2])
    frame = geopandas.GeoDataFrame({"Classname": kinds}, geometry=boxes, crs="EPSG:32633")
    frame.to_file(web_folder / "data" / "p.shp")
    labels = (web_folder / "data" / f"p.{ending}" for ending in ("shp", "shx", "dbf", "prj"))
    return PublicScene(
        "two kinds of fields", "http://nowhere.invalid", "CC0", bands,
        tuple(_described(file, web_folder) for file in labels),
    )  # fmt: skip


def _described(file: Path, folder: Path) -> PublicFile:
    return PublicFile(str(file.relative_to(folder)), file_sha256(file))


def test_fetched_once_checked_and_stacked(
    public: PublicScene, web_folder: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    with web_of(web_folder) as web:
        scene, labels = fetch_scene(public, kept, source=web.address)
        assert len(web.requests) == 8
        (kept / "p.dbf").write_bytes(b"damaged since")
        fetch_scene(public, kept, source=web.address)
        assert [path for _, path, _ in web.requests[8:]] == ["/data/p.dbf"]
    with rasterio.open(scene) as file:
        assert file.descriptions == NAMES
        for index, name in enumerate(NAMES, 1):
            with rasterio.open(web_folder / public.bands[name].path) as band:
                np.testing.assert_array_equal(file.read(index), band.read(1))
    assert len(geopandas.read_file(labels)) == 36
    again, _ = fetch_scene(public, tmp_path / "other", source=str(web_folder))
    assert file_sha256(again) == file_sha256(scene)


def test_another_file_under_the_name_is_refused(
    public: PublicScene, web_folder: Path, tmp_path: Path
) -> None:
    file = public.bands["B03"]
    (web_folder / file.path).write_bytes(b"a page that asks to log in")
    kept = tmp_path / "kept"
    with web_of(web_folder) as web, pytest.raises(SceneError) as raised:
        fetch_scene(public, kept, source=web.address)
    assert "2018%2C%20L1C%2C%20B03.tiff is not the file that was published" in str(raised.value)
    assert {one.name for one in kept.iterdir()} == {"2018, L1C, B02.tiff"}


def test_without_a_network_it_says_what_to_do(
    rsmeta: Rsmeta, public: PublicScene, web_folder: Path, tmp_path: Path
) -> None:
    with web_of(web_folder) as web:
        web.failing.append(503)
        with pytest.raises(SceneUnreachableError, match="status 503"):
            fetch_scene(public, tmp_path / "kept", source=web.address)
        gone = web.address
    complaint = rsmeta("demo", "--real", "--source", gone, "--output", tmp_path / "d").complaint
    assert f"cannot reach {gone}/data/sentinel-2/2018-10-13%2C%20Sentinel-2B" in complaint
    assert "run rsmeta demo (made-up data), or give a folder with a copy" in complaint
    complaint = rsmeta(
        "demo", "--real", "--source", tmp_path / "no copy", "--output", tmp_path / "d"
    ).complaint
    assert "cannot reach" in complaint
    assert not (tmp_path / "d" / "run").exists()
    assert rsmeta("demo", "--source", "x").status == 2


def test_what_is_fetched_is_a_fixed_state_of_a_public_repository() -> None:
    assert BEAUFORT.address.startswith("https://")
    assert len(BEAUFORT.address.rpartition("/")[2]) == 40  # a commit, not a branch
    files = [*BEAUFORT.bands.values(), *BEAUFORT.labels]
    assert len({file.sha256 for file in files}) == len(files) == 12


@pytest.mark.slow
def test_the_whole_way(
    rsmeta: Rsmeta, public: PublicScene, web_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "BEAUFORT", public)
    output = tmp_path / "demo"
    with web_of(web_folder) as web:
        ended = rsmeta("demo", "--real", "--source", web.address, "--output", output)
    assert ended.status == 0, ended.err
    assert "two kinds of fields\nCC0\nchosen: " in ended.out
    for name in ("report.html", "map.png", "map.tif", "config.yaml", "run/bundle/bundle.yaml"):
        assert (output / name).stat().st_size > 0
    shutil.rmtree(web_folder)  # another run needs no network
    assert rsmeta("demo", "--real", "--output", output).status == 0
