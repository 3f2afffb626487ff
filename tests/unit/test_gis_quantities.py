"""Maps of numbers: values with a unit, their statistics, ramps and items."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from rsmeta.errors import OutputError
from rsmeta.geo.grid import Grid
from rsmeta.gis.outputs.map_statistics import Statistics
from rsmeta.gis.outputs.products import Products, check_possible
from rsmeta.gis.outputs.quicklook import map_picture
from rsmeta.gis.outputs.raster_spec import MapSpec
from rsmeta.gis.outputs.rasters import writing
from rsmeta.gis.outputs.stac import Origin, Source, item_text, raster_asset
from rsmeta.heads import OutputSpec
from tests.stac_items import check_item

if TYPE_CHECKING:
    from pathlib import Path

BIOMASS = OutputSpec.of_quantity("biomass", "t/ha")
GRID = Grid(CRS.from_epsg(32633), Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_150_000.0), 60, 80)


@pytest.fixture
def mapped(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Folder with a map of numbers, in two blocks, and what it should hold."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(120, 30, (1, 60, 80)).astype(np.float32)
    valid = np.ones((60, 80), dtype=bool)
    valid[:10, :20] = False
    (tmp_path / "scene.tif").write_bytes(b"")
    wanted = Products(tmp_path / "m.tif", stac=tmp_path / "m.json", quicklook=tmp_path / "m.png")
    scene = Source(str(tmp_path / "scene.tif"), None)
    origin = Origin([scene], datetime.now(UTC), "some backbone", "0" * 64, None, "1")
    with writing(wanted, GRID, MapSpec(BIOMASS, (), {"A": "b"}), resume_fingerprint={}) as writer:
        for row in (0, 30):
            rows = slice(row, row + 30)
            place = Window(0, row, 80, 30)
            writer.write(writer.maker.made(numbers[:, rows], valid[rows], place, tiles=1))
        raster = writer.complete()["map"]
        assert wanted.quicklook is not None
        assert wanted.stac is not None
        with writer.beside(wanted.quicklook) as hidden:
            map_picture(hidden, raster, writer.statistics, title="a map")
        with writer.beside(wanted.stac) as hidden:
            asset = raster_asset("map", raster, writer.statistics, GRID)
            hidden.write_text(item_text(wanted.outputs["stac"], {"map": asset}, GRID, origin))
        assert not wanted.map.exists()
    return tmp_path, np.where(valid, numbers[0], np.nan)


def test_numbers_keep_their_unit_and_are_nan_without_data(
    mapped: tuple[Path, np.ndarray],
) -> None:
    folder, expected = mapped
    with rasterio.open(folder / "m.tif") as raster:
        assert raster.dtypes == ("float32",)
        assert np.isnan(raster.nodata)
        assert raster.units == ("t/ha",)
        assert raster.descriptions == ("biomass",)
        assert "RSMETA_CLASSES" not in raster.tags()
        assert np.array_equal(raster.read(1), expected, equal_nan=True)
    assert cog_validate(folder / "m.tif", strict=True)[0]


def test_statistics_and_ramp_are_those_of_the_numbers(mapped: tuple[Path, np.ndarray]) -> None:
    folder, expected = mapped
    tree = ElementTree.parse(folder / "m.tif.aux.xml")
    told = {item.get("key"): float(item.text or "") for item in tree.iter("MDI")}
    assert told["STATISTICS_MINIMUM"] == pytest.approx(np.nanmin(expected))
    assert told["STATISTICS_MAXIMUM"] == pytest.approx(np.nanmax(expected))
    assert told["STATISTICS_MEAN"] == pytest.approx(np.nanmean(expected), rel=1e-6)
    assert told["STATISTICS_STDDEV"] == pytest.approx(np.nanstd(expected), rel=1e-5)
    items = list(ElementTree.parse(folder / "m.qml").iter("item"))
    low, high = (float(items[i].get("value", "")) for i in (0, -1))
    assert low == pytest.approx(np.nanmean(expected) - 2 * np.nanstd(expected), rel=1e-4)
    assert high == pytest.approx(np.nanmean(expected) + 2 * np.nanstd(expected), rel=1e-4)
    assert (items[0].get("label") or "").endswith(" t/ha")


def test_item_tells_unit_and_statistics(
    mapped: tuple[Path, np.ndarray], stac_schemas: Path
) -> None:
    folder, expected = mapped
    item = check_item(folder / "m.json", stac_schemas)
    (band,) = item["assets"]["map"]["bands"]
    assert (band["name"], band["unit"], band["nodata"]) == ("biomass", "t/ha", "nan")
    assert band["statistics"]["count"] == np.isfinite(expected).sum()
    assert not any("classification" in name for name in item["stac_extensions"])


def test_probabilities_of_numbers_are_refused(tmp_path: Path) -> None:
    wanted = Products(tmp_path / "m.tif", entropy=tmp_path / "e.tif")
    with pytest.raises(OutputError, match=r"--entropy: the model maps biomass, a number"):
        check_possible(wanted, BIOMASS)
    check_possible(Products(tmp_path / "m.tif"), BIOMASS)


@given(parts=st.lists(st.lists(st.floats(-1e6, 1e6, width=32), max_size=9), max_size=6))
def test_statistics_of_parts_are_those_of_the_whole(parts: list[list[float]]) -> None:
    joined = sum((Statistics.of(np.array(part)) for part in parts), Statistics())
    whole = np.array([number for part in parts for number in part])
    assert joined.count == len(whole)
    if len(whole):
        assert (joined.low, joined.high) == (whole.min(), whole.max())
        assert joined.mean == pytest.approx(whole.mean(), rel=1e-9, abs=1e-6)
        assert joined.deviation == pytest.approx(whole.std(), rel=1e-9, abs=1e-6)
