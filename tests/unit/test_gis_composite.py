"""Maps on other grids: over the antimeridian, at the poles, of rotated scenes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.windows import Window

from rsmeta.geo.grid import Grid
from rsmeta.geo.warp import covering_grid as grid_for
from rsmeta.gis.postprocess.composite import Composite, Part
from rsmeta.gis.tags import CLASSES, classes_text
from tests.unit.test_gis_maps import Steps, bundle_with

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

DEG = 30 / 111_320
FOUR = {1: "a", 2: "b", 3: "c", 4: "d"}


def grid(crs: str, x: float, y: float, px: float, shape: tuple[int, int] = (40, 60)) -> Grid:
    """A north-up grid around a place."""
    rows, cols = shape
    corner = Affine(px, 0, x - cols / 2 * px, 0, -px, y + rows / 2 * px)
    return Grid(CRS.from_user_input(crs), corner, rows, cols)


def rotated(one: Grid, degrees: float) -> Grid:
    return Grid(
        one.crs, one.transform @ Affine.rotation(degrees, (30, 20)), one.height_px, one.width_px
    )


def over_180(crs: str) -> Grid:
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180, 46)
    return grid(crs, x, y, 30)


GRIDS = {
    "UTM 1 over 180": over_180("EPSG:32601"),
    "UTM 60 over 180": over_180("EPSG:32660"),
    "179.99": grid("EPSG:4326", 180, 46, DEG),
    "-180": grid("EPSG:4326", -180, 46, DEG),
    "190": grid("EPSG:4326", 190, 46, DEG),
    "-170": grid("EPSG:4326", -170, 46, DEG),
    "UTM 33": grid("EPSG:32633", 500_000, 5_100_000, 30),
    "rotated": rotated(grid("EPSG:32633", 500_000, 5_100_000, 30), 30),
    "polar": grid("EPSG:3413", 100_000, -500_000, 30),
    "north pole": grid("EPSG:3413", 0, 0, 30),
    "south pole": grid("EPSG:3031", 0, 0, 30),
}


def map_on(make_scene: MakeScene, path: Path, place: Grid, seed: int = 0) -> Path:
    """Write a map of coarse patches without a hole."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(1, 5, (place.height_px // 10, place.width_px // 10))
    values = np.kron(patches, np.ones((10, 10))).astype(np.uint8)
    assert place.crs is not None
    make_scene(path, values, crs=place.crs.to_wkt(), transform=place.transform, nodata=255)
    with rasterio.open(path, "r+") as file:
        specs = bundle_with(Steps(4), FOUR).record.classes
        file.update_tags(**{CLASSES: classes_text(specs)})
    return path


def degrees_of(place: Grid, cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
    way = Transformer.from_crs(place.crs, "EPSG:4326", always_xy=True)
    return np.stack(way.transform(*place.xy(cols, rows)))


def check_full(values: np.ndarray, target: Grid, source: Path, own: Grid) -> None:
    """Every pixel of a map is found again, whatever CRS it is looked up through."""
    with rasterio.open(source) as file:
        expected = file.read(1).astype(int) - 1
    rows, cols = np.mgrid[0 : own.height_px, 0 : own.width_px]
    places = degrees_of(own, cols.ravel() + 0.5, rows.ravel() + 0.5)
    back = Transformer.from_crs("EPSG:4326", target.crs, always_xy=True)
    x, y = back.transform(*places)
    if target.crs is not None and target.crs.is_geographic:
        middle = (target.bounds[0] + target.bounds[2]) / 2
        x = x + 360 * np.round((middle - x) / 360)
    at_col, at_row = Grid(None, ~target.transform, 1, 1).xy(x, y)
    at_col, at_row = np.floor(at_col).astype(int), np.floor(at_row).astype(int)
    height, width = values.shape
    inside = (at_col >= 0) & (at_col < width) & (at_row >= 0) & (at_row < height)
    assert inside.all()
    found = values[at_row, at_col]
    same = found == expected.ravel()
    # But along the sides of patches; square degrees near a pole are coarse along meridians.
    assert same.mean() > (0.85 if abs(places[1]).max() < 80 else 0.7)
    assert (found >= 0).mean() > 0.97


@pytest.mark.parametrize("name", [n for n in GRIDS if "pole" not in n])
@pytest.mark.parametrize("crs", ["EPSG:4326", "own", "EPSG:3832", "EPSG:4258"])
def test_a_map_is_full_in_another_crs_wherever_it_lies(
    make_scene: MakeScene, tmp_path: Path, name: str, crs: str
) -> None:
    own = GRIDS[name]
    path = map_on(make_scene, tmp_path / "map.tif", own)
    target = grid_for([own], own.crs if crs == "own" else CRS.from_user_input(crs))
    assert target.width_px * target.height_px < 9 * own.width_px * own.height_px
    composite = Composite([Part(path)], target)
    values = composite.classes(target.full_window)
    check_full(values, target, path, own)
    for window in target.windows(37):  # whatever the windows
        row, col = int(window.row_off), int(window.col_off)
        part = values[row : row + int(window.height), col : col + int(window.width)]
        assert (composite.classes(window) == part).all()


@pytest.mark.parametrize("name", [n for n in GRIDS if "pole" not in n])
def test_a_map_is_full_on_a_global_grid(make_scene: MakeScene, tmp_path: Path, name: str) -> None:
    """``--like``: of either convention of longitudes, cut where they end."""
    own = GRIDS[name]
    path = map_on(make_scene, tmp_path / "map.tif", own)
    px = 360 / 1_200_000
    lat = degrees_of(own, np.array([30.0]), np.array([20.0]))[1][0]
    for west in (-180.0, 0.0):
        world = Grid(
            CRS.from_epsg(4326), Affine(px, 0, west, 0, -px, math.ceil(lat) + 1), 10**5, 1_200_000
        )
        rows, cols = np.mgrid[0 : own.height_px, 0 : own.width_px]
        lon, lats = degrees_of(own, cols.ravel() + 0.5, rows.ravel() + 0.5)
        at_col = np.floor(((lon - west) % 360) / px).astype(int)
        at_row = np.floor((world.transform.f - lats) / px).astype(int)
        composite = Composite([Part(path)], world)
        found = np.full(len(at_col), -2)
        top, height = int(at_row.min()), int(np.ptp(at_row)) + 1
        for side in (at_col < 600_000, at_col >= 600_000):
            if side.any():
                left, width = int(at_col[side].min()), int(np.ptp(at_col[side])) + 1
                values = composite.classes(Window(left, top, width, height))
                found[side] = values[at_row[side] - top, at_col[side] - left]
        with rasterio.open(path) as file:
            expected = file.read(1).astype(int).ravel() - 1
        assert (found >= 0).mean() > 0.99
        assert (found == expected).mean() > 0.85


def test_mosaics_meet_modulo_360(make_scene: MakeScene, tmp_path: Path) -> None:
    west, east = GRIDS["-170"], GRIDS["190"]
    beside = east.crop(Window(50, 0, 60, 40))  # reaches 50 pixels further
    parts = [
        Part(map_on(make_scene, tmp_path / f"{i}.tif", one, seed=i))
        for i, one in enumerate((west, beside))
    ]
    for first, second in ((0, 1), (1, 0)):
        grids = [(west, beside)[i] for i in (first, second)]
        target = grid_for(grids)
        assert target.shape in {(40, 110), (40, 111), (41, 110), (41, 111)}
        merged = Composite([parts[first], parts[second]], target).read(target.full_window)
        assert merged.indices is not None
        assert (merged.indices >= 0).mean() > 0.95
        assert merged.used == {0, 1}


@pytest.mark.parametrize("degrees", [5.0, 30.0, 45.0, 90.0])
def test_a_rotated_scene_keeps_its_pixel_size_and_becomes_north_up(degrees: float) -> None:
    own = rotated(grid("EPSG:32633", 500_000, 5_100_000, 30), degrees)
    for crs in ("EPSG:32633", "EPSG:3035", "EPSG:32632"):
        target = grid_for([own], CRS.from_user_input(crs))
        t = target.transform
        assert (t.b, t.d) == (0, 0)
        assert t.a == -t.e == pytest.approx(30, rel=0.03)
    assert grid_for([own]) == own  # nothing is asked for


@pytest.mark.parametrize("name", ["north pole", "south pole"])
def test_a_scene_over_a_pole_has_a_place_in_degrees(name: str) -> None:
    target = grid_for([GRIDS[name]], CRS.from_epsg(4326))
    west, south, east, north = target.bounds
    assert east - west == pytest.approx(360, abs=0.1)
    assert max(north, -south) == pytest.approx(90, abs=1.1 * target.pixel_size[1])
