"""Pictures of maps: what they show, how long a bar is, where north lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from affine import Affine
from matplotlib.image import imread
from rasterio.crs import CRS

from rsmeta.config.colours import class_colours
from rsmeta.geo.grid import Grid
from rsmeta.gis.outputs.map_decorations import ground_width_m, north_deg, pixel_ratio, round_length
from rsmeta.gis.outputs.products import Products
from rsmeta.workflows.mapping.predict_scenes import predict
from tests.unit.test_gis_maps import THREE, Steps, bundle_with

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene


def grid(crs: int, transform: Affine, shape: tuple[int, int] = (100, 100)) -> Grid:
    return Grid(CRS.from_epsg(crs), transform, *shape)


@pytest.mark.parametrize("shape", [(1, 1), (40, 60), (3, 400), (400, 3)])
@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_picture_shows_the_colours_of_the_map(
    make_scene: MakeScene, tmp_path: Path, shape: tuple[int, int], crs: str | None
) -> None:
    data = np.full((2, *shape), 0.5, dtype=np.float32)
    make_scene(tmp_path / "s.tif", data, descriptions=("red", "nir"), crs=crs)
    wanted = Products(tmp_path / "m.tif", quicklook=tmp_path / "m.png")
    predict(tmp_path / "s.tif", bundle_with(Steps(3), THREE), output=wanted, execution="cpu")
    picture = (imread(tmp_path / "m.png")[..., :3] * 255).round().astype(int)
    shares = {
        colour: (picture == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).mean()
        for colour in ("#0000ff", "#e69f00", "#009e73")
    }
    assert shares["#e69f00"] > 0.08, "the map itself"
    assert all(share > 0.0002 for share in shares.values()), "the legend names all classes"
    assert max(picture.shape) < 1000


@pytest.mark.parametrize(
    ("longest", "told"), [(1, 1), (1.99, 1), (2, 2), (4.9, 2), (730, 500), (1e5, 1e5), (0.07, 0.05)]
)
def test_bars_have_round_lengths(longest: float, told: float) -> None:
    assert round_length(longest) == pytest.approx(told)


def test_ground_is_measured_on_the_ellipsoid() -> None:
    degrees = grid(4326, Affine(0.01, 0, 10.0, 0, -0.01, 60.5))
    assert ground_width_m(degrees) == pytest.approx(55_800, rel=1e-3)
    assert pixel_ratio(degrees) == pytest.approx(2, rel=0.01)
    web = grid(3857, Affine(10, 0, 0, 0, -10, 8_399_738))  # 60° north: a metre is half of one
    assert ground_width_m(web) == pytest.approx(500, rel=0.01)


def test_north_follows_turned_grids_and_meridians() -> None:
    utm = Affine(10, 0, 500_000, 0, -10, 5_150_000)
    assert north_deg(grid(32633, utm)) == pytest.approx(0, abs=0.02)
    east = Affine(10, 0, 720_000, 0, -10, 5_150_000)  # east of the central meridian: tips left
    assert north_deg(grid(32633, east)) == pytest.approx(-2.1, abs=0.1)
    turned = utm * Affine.rotation(30)
    assert abs(north_deg(grid(32633, turned))) == pytest.approx(30, abs=0.1)
    south_up = Affine(10, 0, 500_000, 0, 10, 5_150_000)
    assert abs(north_deg(grid(32633, south_up))) == pytest.approx(180, abs=0.1)
    assert north_deg(grid(32733, Affine(10, 0, 500_000, 0, -10, 6e6))) == pytest.approx(0, abs=0.1)


def test_colours_differ_for_any_number_of_classes() -> None:
    few, many = class_colours(20), class_colours(300)
    assert many[:20] == few
    assert len(set(many)) == 300
    assert len(class_colours(5000)) == 5000
