"""``rsmeta predict --vector``: polygons that fit the map that is written with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from rsmeta.gis.outputs.products import POLYGON_ENDINGS
from rsmeta.gis.vector import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun


@pytest.mark.parametrize("ending", POLYGON_ENDINGS)
def test_polygons_come_with_the_map(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, ending: str
) -> None:
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--vector", tmp_path / f"v{ending}", "--confidence", tmp_path / "sure.tif",
        "--stac", tmp_path / "m.json", "--summary", tmp_path / "s.json",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    if ending == ".parquet":
        frame = geopandas.read_parquet(tmp_path / "v.parquet")
    else:
        frame = pyogrio.read_dataframe(tmp_path / f"v{ending}", layer="v")
    with rasterio.open(tmp_path / "m.tif") as file, rasterio.open(tmp_path / "sure.tif") as sure:
        values, shares = file.read(1), sure.read(1)
    assert frame.groupby("class")["pixels"].sum().to_dict() == {
        name: np.count_nonzero(values == value) for value, name in ((1, "bare"), (2, "meadow"))
    }
    mean = np.average(frame["confidence"], weights=frame["pixels"])
    assert mean == pytest.approx(np.nanmean(shares), rel=1e-5)
    assert shapely.is_valid(frame.geometry).all()
    item = json.loads((tmp_path / "m.json").read_text())
    assert item["assets"]["polygons"]["type"] == FORMATS[ending].media_type
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["scenes"][0]["outputs"]["vector"] == str(tmp_path / f"v{ending}")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_how_outlines_are_drawn_can_be_set(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ("predict", tiny_run.scene, "--model", tiny_run.bundle, "--overwrite")
    counts = []
    for settings in ((), ("--set", "polygons.smallest_m2=60000", "--set", "polygons.smooth=true")):
        ended = rsmeta(
            *words, "--output", tmp_path / "m.tif", "--vector", tmp_path / "v.fgb", *settings
        )
        assert ended.status == 0, ended.err
        frame = pyogrio.read_dataframe(tmp_path / "v.fgb")
        counts.append(len(frame))
    assert counts[1] < counts[0]
    wrong = rsmeta(*words, "--output", tmp_path / "m.tif", "--set", "polygons.smallest_m2=-1")
    assert "polygons.smallest_m2" in wrong.complaint


def test_formats_of_others_are_refused(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    assert set(FORMATS) == set(POLYGON_ENDINGS)
    ended = rsmeta(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", tmp_path / "m.tif",
        "--vector", tmp_path / "v.shp",
    )  # fmt: skip
    assert ended.status == 1
    assert ".gpkg" in ended.complaint
    assert not list(tmp_path.iterdir())
