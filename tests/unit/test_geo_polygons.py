"""Polygons of any file and CRS lie on a grid where their pixels' centres do, to the pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from rsmeta.errors import AoiError
from rsmeta.geo.aoi import read_aoi
from rsmeta.geo.grid import Grid
from rsmeta.geo.reprojection import onto_grid, pixels_of_points

if TYPE_CHECKING:
    from pathlib import Path


def _grid(crs: str, x: float, y: float, size: float, px: int = 50) -> Grid:
    return Grid(CRS.from_user_input(crs), Affine(size, 0, x, 0, -size, y), px, px)


GRIDS = {
    "utm33": _grid("EPSG:32633", 500_000, 5_150_000, 10),
    "utm33, wide": _grid("EPSG:32633", 300_000, 5_500_000, 10_000),
    "antimeridian": _grid("EPSG:32601", 65_000, 5_150_000, 6_000),
    "pole inside": _grid("EPSG:3413", -1.2e6, 0.9e6, 41_000),
    "pole at a corner": _grid("EPSG:3413", 0, 0, 20_000),
    "pole on an edge": _grid("EPSG:3413", -5e5, 0, 20_000),
    "south pole": _grid("EPSG:3031", -0.9e6, 1.2e6, 41_000),
    "190 degrees": _grid("EPSG:4326", 189.5, 50, 0.02),
    "over 180": _grid("EPSG:4326", 179.5, 50, 0.02),
    "over -180": _grid("EPSG:4326", -180.5, 50, 0.02),
    "world": Grid(CRS.from_epsg(4326), Affine(5, 0, -180, 0, -5, 90), 36, 72),
    "world from 0": Grid(CRS.from_epsg(4326), Affine(5, 0, 0, 0, -5, 90), 36, 72),
    "mercator": _grid("EPSG:3857", -20037508.34, 20037508.34, 40075016.68 / 50),
    "albers": _grid("EPSG:5070", -2.3e6, 3e6, 90_000),
}
POLYGONS = {
    "world": shapely.box(-180, -90, 180, 90),
    "nearly the world": shapely.box(-179.9, -89.9, 179.9, 89.9),
    "world from 0": shapely.box(0, -90, 360, 90),
    "northern half": shapely.box(-180, 0.01, 180, 90),
    "eastern half": shapely.box(0.01, -90, 179.99, 90),
    "western half": shapely.box(-179.99, -90, 0.01, 90),
    "long edges": shapely.Polygon([(-60, 46.43), (80, 46.51), (80, 80), (-60, 80)]),
    "triangle": shapely.Polygon([(-171, -79.5), (171, -74), (11, 86)]),
    "over 180": shapely.box(171.03, 40, 190.04, 60),
    "over -180": shapely.box(-190.02, 40, -170.3, 49.51),
    "cut at 180": shapely.MultiPolygon(
        [shapely.box(179.21, 40, 180, 60), shapely.box(-180, 40, -179.71, 49.7)]
    ),
    "with a hole": shapely.box(-170, -89, 175, 89) - shapely.box(10, 40, 18.003, 50.004),
}


def _burnt(polygon: Any, grid: Grid) -> np.ndarray:
    burnt = np.zeros(grid.shape, dtype=np.uint8)
    if not polygon.is_empty:
        rasterio.features.rasterize([(polygon, 1)], out=burnt, transform=grid.transform)
    return burnt > 0


def _centres_inside(polygon: Any, crs: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels' centres lie inside, each asked in the CRS of the polygon; and near."""
    way = pyproj.Transformer.from_crs(grid.crs.to_wkt(), crs, always_xy=True)  # type: ignore[union-attr]
    cols, rows = np.meshgrid(np.arange(grid.width_px) + 0.5, np.arange(grid.height_px) + 0.5)
    x, y = way.transform(*grid.xy(cols, rows))
    inside, edge = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    for turn in (-360, 0, 360) if crs == "EPSG:4326" else (0,):
        places = shapely.points(x + turn, y)
        inside |= shapely.contains(polygon, places)
        edge |= shapely.dwithin(polygon.boundary, places, 1e-9)
    return inside, edge


@pytest.mark.parametrize("polygon", POLYGONS)
@pytest.mark.parametrize("grid", GRIDS)
def test_each_pixel_is_inside_where_its_centre_is(grid: str, polygon: str) -> None:
    laid = onto_grid(np.array([POLYGONS[polygon]]), "EPSG:4326", GRIDS[grid])[0]
    expected, on_edge = _centres_inside(POLYGONS[polygon], "EPSG:4326", GRIDS[grid])
    wrong = (_burnt(laid, GRIDS[grid]) != expected) & ~on_edge
    assert wrong.sum() == 0
    assert laid.is_valid


@settings(max_examples=40)
@given(
    x=st.floats(-180, 180), y=st.floats(-75, 75), width=st.floats(0.5, 300), tilt=st.floats(-5, 5),
    turn=st.sampled_from([-360, 0, 360]),
)  # fmt: skip
def test_any_polygon_lies_right_on_a_scene_inside_it(
    x: float, y: float, width: float, tilt: float, turn: int
) -> None:
    """The scene is around a place on the lower edge: half of it is inside, along a true line."""
    zone = int((x + 180) // 6) % 60 + 1
    utm = f"EPSG:{32600 + zone if y >= 0 else 32700 + zone}"
    way = pyproj.Transformer.from_crs("EPSG:4326", utm, always_xy=True)
    left, top = way.transform(x, y)
    grid = _grid(utm, left - 200, top + 200, 10, px=40)
    west, east = x - width / 2, x + width / 2
    corners = [(west, y - tilt), (east, y + tilt), (east, y + 12), (west, y + 12)]
    polygon = shapely.Polygon([(lon + turn, lat) for lon, lat in corners])
    if not polygon.is_valid:
        return
    laid = onto_grid(np.array([polygon]), "EPSG:4326", grid)[0]
    expected, on_edge = _centres_inside(polygon, "EPSG:4326", grid)
    for more in (-360, 360):
        moved = shapely.transform(polygon, lambda at, by=more: at + np.array([by, 0]))
        inside, edge = _centres_inside(moved, "EPSG:4326", grid)
        expected, on_edge = expected | inside, on_edge | edge
    assert ((_burnt(laid, grid) != expected) & ~on_edge).sum() == 0


def test_a_mercator_polygon_over_the_seam_of_its_map_lies_right() -> None:
    grid = GRIDS["antimeridian"]
    world = 20037508.342789244
    for polygon in (
        shapely.box(-world, -1e7, world, 1e7),
        shapely.MultiPolygon(
            [shapely.box(1.99e7, 0, world, 6e6), shapely.box(-world, 0, -2e7, 6e6)]
        ),
    ):
        laid = onto_grid(np.array([polygon]), "EPSG:3857", grid)[0]
        expected, _ = _centres_inside(polygon, "EPSG:3857", grid)
        assert not (_burnt(laid, grid) != expected).any()


SQUARE = shapely.box(500_100, 5_149_740, 500_260, 5_149_900)  # 16 x 16 pixels
MENDED = {
    "a spike": (
        "POLYGON((500100 5149740,500260 5149740,500260 5149900,500180 5149900,"
        "500180 5149990,500180 5149900,500100 5149900,500100 5149740))", 256,
    ),
    "a bow tie": (
        "POLYGON((500100 5149740,500260 5149900,500260 5149740,500100 5149900,500100 5149740))",
        128,
    ),
    "a sliver beside it": (
        f"MULTIPOLYGON({SQUARE.wkt.removeprefix('POLYGON ')},"
        f"((500100 5149700,500260 5149700,500100 5149700)))", 256,
    ),
    "a collection": (
        f"GEOMETRYCOLLECTION({SQUARE.wkt},LINESTRING(500000 5149990,500490 5149990),"
        f"POINT(500005 5149995))", 256,
    ),
    "parts that overlap": (
        "MULTIPOLYGON("
        "((500100 5149740,500200 5149740,500200 5149900,500100 5149900,500100 5149740)),"
        "((500150 5149740,500260 5149740,500260 5149900,500150 5149900,500150 5149740)))", 256,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_only_what_has_area_is_burnt(tmp_path: Path, name: str) -> None:
    text, expected = MENDED[name]
    frame = geopandas.GeoDataFrame(geometry=[shapely.from_wkt(text)], crs="EPSG:32633")
    frame.to_file(tmp_path / "a.gpkg")
    aoi = read_aoi(tmp_path / "a.gpkg", GRIDS["utm33"])
    assert abs(aoi.inside(GRIDS["utm33"]).sum() - expected) <= (8 if "bow" in name else 0)


def _layers(path: Path, **layers: shapely.Geometry) -> None:
    for name, shape in layers.items():
        geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:32633").to_file(path, layer=name)


def test_of_several_layers_one_is_chosen_or_the_choice_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    _layers(path, fields=SQUARE, roads=shapely.LineString([(0, 0), (1, 1)]))
    grid = GRIDS["utm33"]
    with pytest.raises(AoiError, match=r"several layers: fields, roads; name one: .*\|layername="):
        read_aoi(path, grid)
    with pytest.raises(
        AoiError, match=r"no layer 'field'; did you mean 'fields'\?; it has: fields"
    ):
        read_aoi(f"{path}|layername=field", grid)
    assert read_aoi(f"{path}|layername=fields", grid).inside(grid).sum() == 256
    with pytest.raises(AoiError, match="holds no polygon"):
        read_aoi(f"{path}|layername=roads", grid)


def test_a_mask_without_crs_says_how_to_get_one(tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:32633").to_file(tmp_path / "a.shp")
    (tmp_path / "a.prj").unlink()
    with pytest.raises(AoiError, match=r"a\.shp has no CRS .* ogr2ogr -a_srs EPSG"):
        read_aoi(tmp_path / "a.shp", GRIDS["utm33"])
    local = Grid(None, GRIDS["utm33"].transform, 50, 50)
    assert read_aoi(tmp_path / "a.shp", local).inside(local).sum() == 256


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["utm33", "190 degrees", "over 180", "world from 0", "albers", "turned"]),
    cells=st.lists(st.tuples(st.integers(0, 49), st.integers(0, 49)), min_size=1, unique=True),
    place=st.floats(0.02, 0.98),
    crs=st.sampled_from([None, "EPSG:4326"]),
)
def test_a_point_is_the_pixel_that_it_lies_in(
    name: str, cells: list[tuple[int, int]], place: float, crs: str | None
) -> None:
    turned = Affine.translation(5e5, 5e6) * Affine.rotation(20) * Affine.scale(10, 10)
    grid = GRIDS.get(name) or Grid(CRS.from_epsg(32633), turned, 50, 50)
    cells = [(row % grid.height_px, col % grid.width_px) for row, col in cells]
    places = np.array([grid.transform * (col + place, row + 1 - place) for row, col in cells])
    own = grid.crs.to_wkt() if grid.crs else None
    if crs is not None:
        way = pyproj.Transformer.from_crs(own, crs, always_xy=True)
        places = np.column_stack(way.transform(*places.T))
    found = pixels_of_points(shapely.points(places), crs or own, grid)
    for (row, col), pixel in zip(cells, found, strict=True):
        burnt = rasterio.features.rasterize([pixel], grid.shape, transform=grid.transform)
        assert np.argwhere(burnt).tolist() == [[row, col]]


def test_points_off_the_grid_are_no_pixels() -> None:
    grid = GRIDS["utm33"]
    left, bottom, right, top = grid.bounds
    off = [(left - 1, top - 1), (right + 1, top - 1), (left + 1, top + 1), (left + 1, bottom - 1)]
    points = [*shapely.points(off), shapely.MultiPoint([off[0], (left + 15, top - 5)])]
    found = pixels_of_points(np.array(points), grid.crs and grid.crs.to_wkt(), grid)
    assert [shapely.area(one) for one in found] == [0, 0, 0, 0, 100]
