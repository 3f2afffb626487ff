"""What ``docs/recipes.md`` shows beside commands of rsmeta: a map server, a step of a pipeline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
import rasterio
from PIL import Image

from tests.integration.test_docs import ROOT, blocks

if TYPE_CHECKING:
    from tests.integration.conftest import RunToEnd, TinyRun

PAGE = ROOT / "docs" / "recipes.md"
CONFIG = 'CONFIG\n  ENV\n    MS_MAP_PATTERN "."\n  END\nEND\n'


def ask_mapserver(folder: Path, **query: str) -> Image.Image:
    """Ask MapServer for a picture, as a web server would."""
    given = {"map": str(folder / "served.map"), "SERVICE": "WMS", "FORMAT": "image/png", **query}
    answer = subprocess.run(
        ["mapserv"], capture_output=True, check=True, timeout=60,
        env={**os.environ, "REQUEST_METHOD": "GET", "QUERY_STRING": urlencode(given),
             "MAPSERVER_CONFIG_FILE": str(folder / "mapserver.conf")},
    ).stdout  # fmt: skip
    header, _, body = answer.partition(b"\r\n\r\n")
    assert b"image/png" in header, answer
    return Image.open(BytesIO(body)).convert("RGB")


@pytest.mark.skipif(shutil.which("mapserv") is None, reason="MapServer is not installed")
def test_mapserver_draws_the_map_and_its_legend(
    tiny_run: TinyRun, run_to_end: RunToEnd, tmp_path: Path
) -> None:
    where = tmp_path / "served.tif"
    run_to_end("predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", where)
    (mapfile,) = blocks(PAGE, "mapfile")
    (tmp_path / "served.map").write_text(mapfile, encoding="utf-8")
    (tmp_path / "mapserver.conf").write_text(CONFIG, encoding="utf-8")
    with rasterio.open(where) as dataset:
        palette = dataset.colormap(1)
        values = dataset.read(1)
    style = where.with_suffix(".sld").read_text(encoding="utf-8")
    asked = {
        "VERSION": "1.3.0", "REQUEST": "GetMap", "LAYERS": "class", "STYLES": "",
        "CRS": "EPSG:32633", "BBOX": "500000,5149040,500960,5150000", "WIDTH": "96", "HEIGHT": "96",
    }  # fmt: skip
    for more in ({}, {"SLD_BODY": style}):
        drawn = ask_mapserver(tmp_path, **asked, **more)
        for value in (1, 2):
            row, col = (values == value).nonzero()
            assert drawn.getpixel((int(col[0]), int(row[0]))) == palette[value][:3]
    legend = ask_mapserver(
        tmp_path, VERSION="1.3.0", REQUEST="GetLegendGraphic", LAYER="class", SLD_VERSION="1.1.0",
        SLD_BODY=style,
    )  # fmt: skip
    seen = {colour for _, colour in legend.getcolors(100_000) or ()}
    assert seen >= {palette[1][:3], palette[2][:3]}


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("jq") is None or shutil.which("bash") is None, reason="needs bash and jq"
)
def test_the_step_of_a_pipeline(tiny_run: TinyRun, tmp_path: Path) -> None:
    (script,) = blocks(PAGE, "bash")
    (tmp_path / "map_new.sh").write_text(script, encoding="utf-8")
    shutil.copytree(tiny_run.bundle, tmp_path / "run" / "bundle")
    (tmp_path / "new").mkdir()
    shutil.copy(tiny_run.scene, tmp_path / "new")

    def start(folder: str = "new") -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "map_new.sh", folder], cwd=tmp_path, capture_output=True, text=True,
            check=False, timeout=120, env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    first = start()
    assert first.returncode == 0, first.stderr
    assert [Path(line).name for line in first.stdout.split()] == ["west_map.tif"]
    shutil.copy(tiny_run.data / "east.tif", tmp_path / "new")
    (tmp_path / "new" / "broken.tif").write_bytes(b"II*\0 no more of it")
    second = start()
    assert second.returncode == 1
    assert "broken.tif: " in second.stderr
    assert [Path(line).name for line in second.stdout.split()] == ["east_map.tif"]
    third = start("not_there")
    assert third.returncode == 1
    assert third.stderr.startswith("rsmeta: ")
    assert third.stdout == ""
