"""Finished maps of numbers: what they come to, whole and together with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from rsmeta.errors import SceneError
from rsmeta.geo.grid import Grid
from rsmeta.geo.stac_parts import bbox_of, footprint_of
from rsmeta.gis import quantity_map
from rsmeta.gis.postprocess.quantity_composite import QuantityComposite
from rsmeta.gis.quantity_map import holds_quantity, open_quantity_map

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

UTM = CRS.from_epsg(32633)


@pytest.fixture
def numbers(make_scene: MakeScene, tmp_path: Path) -> tuple[Path, np.ndarray]:
    array = np.random.default_rng(0).normal(10, 2, (50, 70)).astype(np.float32)
    array[:5, :7], array[20, 30], array[21, 31] = np.nan, 500, np.inf
    path = make_scene(tmp_path / "n.tif", array, nodata=np.nan, descriptions=("height",))
    return path, array


@pytest.mark.parametrize("step_px", [16, 2048])
def test_the_spread_is_that_of_the_whole_map(
    numbers: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch, step_px: int
) -> None:
    path, array = numbers
    monkeypatch.setattr(quantity_map, "STEP_PX", step_px)
    spread = open_quantity_map(path).spread()
    known = array[np.isfinite(array)].astype(np.float64)
    assert spread.statistics.count == known.size
    assert spread.statistics.mean == pytest.approx(known.mean())
    assert spread.statistics.deviation == pytest.approx(known.std())
    assert spread.span == pytest.approx((known.min(), known.mean() + 4 * known.std()))
    assert (spread.below, spread.above) == (0, 1)
    assert spread.counts == tuple(np.histogram(known, len(spread.counts), spread.span)[0])
    assert spread.area_m2 == pytest.approx(known.size * 100, rel=1e-3)


def test_scaled_whole_numbers_are_numbers_too(make_scene: MakeScene, tmp_path: Path) -> None:
    path = make_scene(tmp_path / "s.tif", np.array([[0, 125, 255]], np.uint8), nodata=255)
    assert not holds_quantity(path)
    with pytest.raises(SceneError, match="is no map of numbers"):
        open_quantity_map(path)
    with rasterio.open(path, "r+") as file:
        file.scales = (0.004,)
    opened = open_quantity_map(path)
    assert opened.name == "value"
    np.testing.assert_allclose(opened.read(Window(0, 0, 3, 1)), [[0, 0.5, np.nan]], rtol=1e-6)


def test_means_of_a_coarser_grid_know_no_windows(
    numbers: tuple[Path, np.ndarray],
) -> None:
    path, _ = numbers
    grid = Grid(UTM, Affine(25.0, 0, 500_003.0, 0, -25.0, 5_149_993.0), 20, 28)
    composite = QuantityComposite([path], grid)
    whole = composite.read(grid.full_window)
    assert whole.indices is None
    assert whole.scores is not None
    for window in grid.windows(7):
        part = composite.read(window).scores
        assert part is not None
        np.testing.assert_allclose(part[0], whole.scores[0][window.toslices()], rtol=1e-5)


def test_the_footprint_of_scenes_is_one_geometry() -> None:
    def placed(left: float, zone: int = 32633) -> Grid:
        place = Affine(100.0, 0, left, 0, -100.0, 5_150_000.0)
        return Grid(CRS.from_epsg(zone), place, 10, 10)

    apart = footprint_of([placed(500_000.0), placed(500_000.0), placed(510_000.0)])
    assert apart is not None
    assert apart["type"] == "MultiPolygon"
    assert len(apart["coordinates"]) == 2
    west, south, east, north = bbox_of(apart)
    assert 14.9 < west < east < 15.3
    assert 46.4 < south < north < 46.6
    over = footprint_of([placed(260_000.0 + 100_000 * i, 32601) for i in (-1, 1)])
    assert over is not None
    west, _, east, _ = bbox_of(over)
    assert 175 < west < 180
    assert -180 < east < -176
    many = footprint_of([placed(500_000.0 + 2_000 * i) for i in range(150)])
    assert many is not None
    assert many["type"] == "Polygon"
    assert shapely.is_valid(shapely.from_geojson(str(many).replace("'", '"')))
    assert footprint_of([Grid(None, Affine.identity(), 5, 5)]) is None
