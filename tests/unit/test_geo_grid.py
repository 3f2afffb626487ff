"""Grids: equality, cropping, and true lengths on the ground."""

from __future__ import annotations

import math
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window

from rsmeta.geo.grid import Grid, apply

if TYPE_CHECKING:
    from pathlib import Path

UTM = CRS.from_epsg(32633)
LONLAT = CRS.from_epsg(4326)


def utm_grid(height: int = 30, width: int = 20) -> Grid:
    return Grid(UTM, Affine(10, 0, 5e5, 0, -10, 5e6), height, width)


def test_equality_is_exact() -> None:
    assert utm_grid() == utm_grid()
    assert hash(utm_grid()) == hash(utm_grid())
    shifted = Grid(UTM, Affine(10, 0, 5e5 + 1e-9, 0, -10, 5e6), 30, 20)
    assert utm_grid() != shifted
    assert utm_grid() != utm_grid(height=31)
    assert pickle.loads(pickle.dumps(utm_grid())) == utm_grid()


def test_equal_systems_written_differently_hash_the_same() -> None:
    again = Grid(CRS.from_wkt(UTM.to_wkt()), utm_grid().transform, 30, 20)
    assert again == utm_grid()
    assert hash(again) == hash(utm_grid())


@settings(deadline=None)
@given(
    col=st.integers(-50, 50),
    row=st.integers(-50, 50),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    angle=st.sampled_from([0, 30, 90]),
)
def test_a_window_is_found_again_from_the_bounds_of_its_grid(
    col: int, row: int, width: int, height: int, angle: int
) -> None:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    transform = Affine(9.9948 * cos, 9 * sin, 5e5, 9 * sin, -9.9974 * cos, 5e6)
    grid = Grid(UTM, transform, 30, 20)
    cropped = grid.crop(Window(col, row, width, height))
    assert cropped.shape == (height, width)
    np.testing.assert_allclose(apply(cropped.transform, 3, 4), apply(transform, col + 3, row + 4))
    if angle == 0:
        assert grid.window(cropped.bounds) == Window(col, row, width, height)


def test_the_full_window_crops_to_the_grid_itself() -> None:
    grid = Grid(UTM, Affine(0.1, 0, 1 / 3, 0, -0.3, 2 / 3), 7, 9)
    assert grid.crop(grid.full_window) == grid


@pytest.mark.parametrize("window", [Window(0.5, 0, 2, 2), Window(0, 0, 0, 2), Window(0, 0, 2, 1.5)])
def test_windows_that_are_not_whole_pixels_are_refused(window: Window) -> None:
    with pytest.raises(ValueError, match="whole pixels"):
        utm_grid().crop(window)


def test_bounds_are_left_bottom_right_top() -> None:
    assert utm_grid().bounds == (5e5, 5e6 - 300, 5e5 + 200, 5e6)
    upside_down = Grid(UTM, Affine(10, 0, 5e5, 0, 10, 5e6), 30, 20)
    assert upside_down.bounds == (5e5, 5e6, 5e5 + 200, 5e6 + 300)


def test_tiny_bounds_still_mean_one_pixel() -> None:
    assert utm_grid().window((5e5 + 11, 5e6 - 12, 5e5 + 12, 5e6 - 11)) == Window(1, 1, 1, 1)


def test_pixel_size_of_a_turned_grid() -> None:
    turned = Grid(UTM, Affine(1.8, 3.2, 0, 2.4, -2.4, 0), 5, 5)
    np.testing.assert_allclose(turned.pixel_size, (3, 4))
    assert turned.gsd_m == pytest.approx(math.sqrt(1.8 * 2.4 + 3.2 * 2.4))


def test_gsd_in_feet_degrees_and_web_mercator() -> None:
    feet = Grid(CRS.from_epsg(2263), Affine(1, 0, 9e5, 0, -1, 2e5), 10, 10)
    assert feet.gsd_m == pytest.approx(0.3048006)
    # A degree of latitude and of longitude: 110 574 m and 111 320 m at the equator (WGS 84).
    equator = Grid(LONLAT, Affine(1e-3, 0, 0, 0, -1e-3, 0.005), 10, 10)
    assert equator.gsd_m == pytest.approx(math.sqrt(110.574 * 111.320), rel=1e-5)
    # And 111 412 m and 55 800 m at 60 degrees.
    north = Grid(LONLAT, Affine(1e-3, 0, 0, 0, -1e-3, 60.005), 10, 10)
    assert north.gsd_m == pytest.approx(math.sqrt(111.412 * 55.800), rel=1e-4)
    y_at_60 = 6378137 * math.log(math.tan(math.radians(75)))
    mercator = Grid(CRS.from_epsg(3857), Affine(10, 0, 0, 0, -10, y_at_60 + 50), 10, 10)
    assert mercator.gsd_m == pytest.approx(5, rel=1e-4)


def test_without_a_crs_there_is_no_ground() -> None:
    nowhere = Grid(None, Affine.identity(), 4, 5)
    assert nowhere.gsd_m is None
    assert nowhere.bounds_lonlat() is None
    assert nowhere.pixel_size == (1, 1)


def test_bounds_in_degrees() -> None:
    west, south, east, north = utm_grid().bounds_lonlat() or (0, 0, 0, 0)
    assert 15 - 1e-9 <= west < east < 15.01
    assert 45.14 < south < north < 45.16


def test_real_pixels_that_are_not_square(shared_data: Path) -> None:
    with rasterio.open(shared_data / "slovenia_s2" / "scene_0.tif") as file:
        grid = Grid(file.crs, file.transform, file.height, file.width)
    np.testing.assert_allclose(grid.pixel_size, (9.9948, 9.9974), atol=1e-4)
    assert grid.gsd_m == pytest.approx(9.9961, abs=1e-3)
