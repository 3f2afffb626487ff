"""Maps on other grids hold all pixels of their scenes, as large as they were, anywhere on Earth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling

from rsmeta.errors import GridMismatchError
from rsmeta.geo.grid import Grid
from rsmeta.geo.warp import covering_grid, warped

if TYPE_CHECKING:
    from pathlib import Path


def _grid(crs: str, x: float, y: float, size: float, px: int = 60, turn_deg: float = 0) -> Grid:
    place = Affine.translation(x, y) @ Affine.rotation(turn_deg) @ Affine.scale(size, -size)
    return Grid(CRS.from_user_input(crs), place, px, px)


def _held(path: Path, own: Grid, grid: Grid) -> np.ndarray:
    """Return where a raster full of ones is found on another grid."""
    with rasterio.open(
        path, "w", driver="GTiff", width=own.width_px, height=own.height_px, count=1,
        dtype="uint8", crs=own.crs, transform=own.transform,
    ) as file:  # fmt: skip
        file.write(np.ones((1, *own.shape), np.uint8))
    with rasterio.open(path) as file, warped(
        file, grid, resampling=Resampling.nearest, dtype="float32", nodata=np.nan
    ) as there:  # fmt: skip
        found: np.ndarray = np.isfinite(there.read(1))
    return found


SCENES = {
    "utm 33": _grid("EPSG:32633", 500_000, 5_150_000, 30),
    "utm 33, turned": _grid("EPSG:32633", 500_000, 5_150_000, 30, turn_deg=30),
    "utm 1 over 180": _grid("EPSG:32601", 245_000, 5_150_000, 1_000),
    "utm 60 over 180": _grid("EPSG:32660", 700_000, 5_150_000, 1_000),
    "190 degrees": _grid("EPSG:4326", 189.7, 50, 0.01),
    "-190 degrees": _grid("EPSG:4326", -190.3, 50, 0.01),
    "179.7 degrees": _grid("EPSG:4326", 179.7, 50, 0.01),
    "-180.3 degrees, turned": _grid("EPSG:4326", -180.3, 50, 0.01, turn_deg=-20),
    "nad83 at 179.7": _grid("EPSG:4269", 179.7, 50, 0.01),
    "mercator beyond its edge": _grid("EPSG:3857", 20_000_000, 6_400_000, 1_500),
    "mercator from beyond": _grid("EPSG:3857", -20_080_000, 6_400_000, 1_500),
}
TARGETS = ["EPSG:4326", "EPSG:3857", "EPSG:4258"]


@pytest.mark.parametrize("crs", TARGETS)
@pytest.mark.parametrize("name", SCENES)
def test_no_pixel_is_lost(tmp_path: Path, name: str, crs: str) -> None:
    own = SCENES[name]
    grid = covering_grid([own], CRS.from_user_input(crs))
    held = _held(tmp_path / "a.tif", own, grid)
    # pixels are about as large as they were, so they are about as many
    assert held.sum() == pytest.approx(60 * 60, rel=0.25)
    for side in (held[0], held[-1], held[:, 0], held[:, -1]):
        assert side.any() or side.size < 4 or held[2:-2, 2:-2].any()
    outer = max(grid.shape) <= 60 * 1.6 + 4  # no canvas around the Earth
    assert outer


@pytest.mark.parametrize("name", ["190 degrees", "179.7 degrees", "mercator beyond its edge"])
@pytest.mark.parametrize("crs", ["EPSG:32601", "EPSG:32602", "EPSG:5936"])
def test_scenes_beyond_180_are_found_from_projections(tmp_path: Path, name: str, crs: str) -> None:
    own = SCENES[name]
    grid = covering_grid([own], CRS.from_user_input(crs))
    assert _held(tmp_path / "a.tif", own, grid).sum() == pytest.approx(60 * 60, rel=0.03)


@settings(max_examples=50)
@given(turn=st.floats(-180, 180), size=st.floats(0.5, 500), lat=st.floats(-75, 75))
def test_pixels_stay_as_large_however_a_scene_is_turned(
    turn: float, size: float, lat: float
) -> None:
    way = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    x, y = way.transform(15.3, lat)
    own = _grid("EPSG:32633", x, y, size, turn_deg=turn)
    for crs in ("EPSG:32633", "EPSG:32634", "EPSG:4326"):
        grid = covering_grid([own], CRS.from_user_input(crs))
        t = grid.transform
        assert t.b == t.d == 0
        assert t.a > 0 > t.e
        assert grid.gsd_m == pytest.approx(size, rel=0.02)
        most = 60 * math.sqrt(2) * 60 * math.sqrt(2)
        assert grid.height_px * grid.width_px < 1.1 * most / max(0.2, math.cos(math.radians(lat)))


def test_a_north_up_scene_keeps_its_pixels_in_its_own_crs() -> None:
    own = SCENES["utm 33"]
    assert own.crs is not None
    assert covering_grid([own], own.crs) == own
    assert covering_grid([SCENES["utm 33, turned"]]) == SCENES["utm 33, turned"]


def test_a_mosaic_over_the_antimeridian_is_as_wide_as_its_scenes(tmp_path: Path) -> None:
    parts = [_grid("EPSG:4326", lon, 50, 0.01) for lon in (-170.0, 190.4, 549.0)]
    grid = covering_grid(parts)
    assert grid.shape == (60, 200)
    assert sum(_held(tmp_path / "a.tif", part, grid).sum() for part in parts) == 3 * 60 * 60
    both = covering_grid([SCENES["utm 60 over 180"], SCENES["utm 1 over 180"]], CRS.from_epsg(4326))
    assert max(both.shape) < 400


@pytest.mark.parametrize("crs", ["EPSG:4978", "EPSG:5773", 'LOCAL_CS["x",UNIT["metre",1]]'])
def test_a_crs_without_map_coordinates_is_no_target(crs: str) -> None:
    with pytest.raises(GridMismatchError, match="has no map coordinates; name a projected"):
        covering_grid([SCENES["utm 33"]], CRS.from_user_input(crs))


@pytest.mark.parametrize(
    ("scene", "crs"),
    [
        (_grid("EPSG:4326", -180, 90, 6, px=60), "EPSG:32633"),
        (_grid('LOCAL_CS["x",UNIT["metre",1]]', 0, 0, 1), "EPSG:32633"),
        (SCENES["utm 1 over 180"], "EPSG:6933"),
    ],
)
def test_a_scene_that_has_no_place_in_a_crs_says_so(scene: Grid, crs: str) -> None:
    with pytest.raises(GridMismatchError, match=r"cannot become|has no place|across the seam"):
        covering_grid([scene], CRS.from_user_input(crs))
