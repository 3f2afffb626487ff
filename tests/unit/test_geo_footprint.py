"""Footprints hold anywhere on the Earth: over poles, the antimeridian, and on maps of all of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from rsmeta.geo.footprint import bounds_lonlat, footprint
from rsmeta.geo.grid import Grid
from rsmeta.geo.reprojection import window_of
from rsmeta.geo.stac_parts import bbox_of, footprint_of, place_fields

ENGINEERING = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'


def _grid(crs: Any, x: float, y: float, size: float, px: int = 40, turn_deg: float = 0) -> Grid:
    place = Affine.translation(x, y) @ Affine.rotation(turn_deg) @ Affine.scale(size, -size)
    return Grid(CRS.from_user_input(crs), place, px, px)


def _lonlat(grid: Grid, cols: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    assert grid.crs is not None
    way = pyproj.Transformer.from_crs(grid.crs.to_wkt(), "OGC:CRS84", always_xy=True)
    lon, lat = way.transform(*grid.xy(np.asarray(cols), np.asarray(rows)))
    return (lon + 180) % 360 - 180, lat


def _check(grid: Grid) -> None:
    """Points of the grid are inside, points off it are not, and the bounds hold the same."""
    place = footprint(grid)
    assert place is not None
    assert place.is_valid
    inner = np.linspace(0.02, 0.98, 13) * grid.width_px
    lon, lat = _lonlat(grid, *np.meshgrid(inner, inner))
    assert shapely.intersects_xy(place, lon, lat).all()
    west, south, east, north = bounds_lonlat([place])
    assert ((lat >= south) & (lat <= north)).all()
    inside = (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
    assert inside.all()
    top, _ = place_fields(grid)
    assert shapely.from_geojson(json.dumps(top["geometry"])).is_valid
    np.testing.assert_allclose(bbox_of(top["geometry"]), top["bbox"], atol=1e-6)


@settings(max_examples=60)
@given(
    x=st.floats(-2e6, 2e6), y=st.floats(-2e6, 2e6), size=st.floats(10, 60_000),
    turn=st.floats(-180, 180), crs=st.sampled_from(["EPSG:3413", "EPSG:3031", "EPSG:3995"]),
)  # fmt: skip
@example(x=0.0, y=-2.0, size=162.0, turn=0.0, crs="EPSG:3031")  # ends at 180 but for rounding
def test_polar_grids(x: float, y: float, size: float, turn: float, crs: str) -> None:
    grid = _grid(crs, x, y, size, turn_deg=turn)
    _check(grid)
    back = ~grid.transform
    col, row = back.a * 0 + back.c, back.d * 0 + back.f  # the pole lies at (0, 0)
    has_pole = 0.01 < col < 39.99 and 0.01 < row < 39.99
    west, south, east, north = grid.bounds_lonlat() or (0, 0, 0, 0)
    if has_pole:
        assert (west, east) == (-180, 180)
        assert max(abs(south), abs(north)) == 90
    elif not (-0.01 < col < 40.01 and -0.01 < row < 40.01):
        assert max(abs(south), abs(north)) < 90
        assert (east - west) % 360 < 181


@pytest.mark.parametrize("corner", [(0, 0), (-400_000, 0), (0, 400_000), (-400_000, 400_000),
                                    (-200_000, 0), (0, 200_000)])  # fmt: skip
def test_a_pole_on_the_edge(corner: tuple[float, float]) -> None:
    """As in tilings of the Arctic, four tiles of which meet at the pole."""
    grid = _grid("EPSG:3413", *corner, 10_000)
    _check(grid)
    west, _, east, north = grid.bounds_lonlat() or (0, 0, 0, 0)
    assert north == pytest.approx(90, abs=1e-3)
    assert (east - west) % 360 == pytest.approx(180 if 200_000 in map(abs, corner) else 90, abs=1)


@settings(max_examples=60)
@given(
    lon=st.floats(-540, 540), lat=st.floats(-80, 80), size=st.floats(1e-4, 0.5),
    turn=st.floats(-180, 180),
)  # fmt: skip
@example(lon=539.9999999999999, lat=0.0, size=0.5, turn=0.0)  # begins at 180 but for rounding
def test_longitudes_meet_modulo_360(lon: float, lat: float, size: float, turn: float) -> None:
    grid = _grid("EPSG:4326", lon, lat, size, px=20, turn_deg=turn)
    bounds = grid.bounds_lonlat()
    for turns in (-360, 360):
        other = _grid("EPSG:4326", lon + turns, lat, size, px=20, turn_deg=turn).bounds_lonlat()
        np.testing.assert_allclose(bounds, other, atol=1e-6)
    if abs(lat) + 30 * size < 90:
        _check(grid)


@settings(max_examples=60)
@given(lon=st.floats(-180, 180), lat=st.floats(-70, 70), size=st.floats(10, 3_000))
def test_utm_grids_and_bounds_inside_them(lon: float, lat: float, size: float) -> None:
    zone = int((lon + 180) // 6) % 60 + 1
    crs = CRS.from_epsg(32600 + zone if lat >= 0 else 32700 + zone)
    way = pyproj.Transformer.from_crs("EPSG:4326", crs.to_wkt(), always_xy=True)
    x, y = way.transform(lon, lat)
    grid = _grid(crs, x - 20 * size, y + 20 * size, size)
    _check(grid)
    cols, rows = np.array([10, 30, 30, 10]), np.array([10, 10, 30, 30])
    lons, lats = _lonlat(grid, cols, rows)
    lons = lon + (lons - lon + 180) % 360 - 180
    west, east = ((side + 180) % 360 - 180 for side in (lons.min(), lons.max()))
    window = window_of(grid, (west, lats.min(), east, lats.max()))
    assert window is not None
    assert window.col_off <= 10 <= 30 <= window.col_off + window.width
    assert window.row_off <= 10 <= 30 <= window.row_off + window.height
    assert window.width < 40
    assert window_of(grid, ((lon + 100) % 360 - 180, -1, (lon + 101) % 360 - 180, 1)) is None


WORLDS = {
    "degrees": Grid(CRS.from_epsg(4326), Affine(1, 0, -180, 0, -1, 90), 180, 360),
    "degrees from 0": Grid(CRS.from_epsg(4326), Affine(1, 0, 0, 0, -1, 90), 180, 360),
    "mercator": _grid("EPSG:3857", -20037508.342789244, 20037508.342789244, 1001875.4171394622),
    "equal area": Grid(
        CRS.from_epsg(6933), Affine(36032.22, 0, -17367530.44, 0, -36032.22, 7314540.83), 406, 964
    ),
    "mollweide": Grid(
        CRS.from_user_input("ESRI:54009"),
        Affine(180_400, 0, -18_040_000, 0, -180_400, 9_020_000), 100, 200,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_a_map_of_the_world_is_all_around_it(name: str) -> None:
    west, south, east, north = WORLDS[name].bounds_lonlat() or (0, 0, 0, 0)
    assert (west, east) == pytest.approx((-180, 180), abs=0.01)
    assert south < -83
    assert north > 83


@pytest.mark.parametrize("crs", [None, ENGINEERING])
def test_without_a_place_on_earth_there_is_none(crs: str | None) -> None:
    grid = Grid(None if crs is None else CRS.from_user_input(crs), Affine(1, 0, 5, 0, -1, 9), 4, 4)
    assert grid.bounds_lonlat() is None
    assert footprint_of([grid]) is None
    top, properties = place_fields(grid)
    assert top == {"geometry": None}
    assert properties["proj:shape"] == [4, 4]


def test_the_hull_of_many_takes_the_short_way_round() -> None:
    many = [_grid("EPSG:4326", 178 + 0.03 * i, 50, 1e-4, px=4) for i in range(150)]
    west, _, east, _ = bbox_of(footprint_of(many) or {})
    assert 177 < west < 179
    assert -178 < east < -177
