"""Maps as class indices, what they cover, and random samples of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine

from rsmeta.gis.class_map import ClassMap, Cover, open_class_map
from rsmeta.gis.sampling import allocate, draw, write_points
from rsmeta.gis.tags import CLASSES as CLASSES_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

CLASSES = [
    {"value": 1, "name": "water", "colour": "#0000ff"},
    {"value": 7, "name": "forest", "colour": "#00ff00"},
    {"value": 9, "name": "sand", "colour": "#ffff00"},
]
DEGREES = Affine(0.01, 0.0, 10.0, 0.0, -0.3, 75.0)


@pytest.fixture
def make_map(make_scene: MakeScene, tmp_path: Path) -> object:
    def make(values: np.ndarray, **georeference: object) -> ClassMap:
        path = make_scene(tmp_path / "map.tif", values.astype(np.uint8), nodata=255,
                          **georeference)  # type: ignore[arg-type]  # fmt: skip
        with rasterio.open(path, "r+") as file:
            file.update_tags(**{CLASSES_TAG: json.dumps(CLASSES)})
        return open_class_map(path)

    return make


def some_values(shape: tuple[int, int] = (90, 70)) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.choice([1, 7, 9, 255], size=shape, p=[0.2, 0.7, 0.02, 0.08])


def test_cover_counts_pixels_and_ground(make_map: object) -> None:
    values = some_values()
    cover = make_map(values).cover()  # type: ignore[operator]
    assert cover.pixels == tuple(int((values == v).sum()) for v in (1, 7, 9))
    on_ground = [100.08 * n for n in cover.pixels]  # UTM's scale is 0.9996 here
    assert cover.areas_m2 == pytest.approx(on_ground, rel=1e-4)


def test_cover_in_degrees_is_on_the_ellipsoid(make_map: object) -> None:
    values = np.full((40, 10), 1)
    values[:20] = 7  # the northern half: narrower pixels
    cover = make_map(values, crs="EPSG:4326", transform=DEGREES).cover()  # type: ignore[operator]
    assert cover.pixels == (200, 200, 0)
    south, north, _ = cover.areas_m2
    assert south > 1.15 * north


def test_pixels_are_found_across_windows_and_none_outside(make_map: object) -> None:
    values = some_values((30, 20))
    class_map = make_map(values)  # type: ignore[operator]
    rows, cols = np.array([0, 29, 5, -1, 30, 3]), np.array([0, 19, 7, 3, 3, 20])
    index_of = {1: 0, 7: 1, 9: 2, 255: -1}
    expected = [index_of[v] for v in values[[0, 29, 5], [0, 19, 7]].tolist()]
    assert class_map.at(cols, rows).tolist() == [*expected, -1, -1, -1]


def test_rare_classes_get_their_least() -> None:
    cover = Cover((900_000, 99_000, 1_000, 30, 0), (9e7, 9.9e6, 1e5, 3e3, 0.0))
    counts = allocate(cover, 600)
    assert sum(counts) == 600
    assert counts[2] >= 50
    assert counts[3] == 30
    assert counts[4] == 0
    assert counts[0] > 3 * counts[1]
    assert allocate(Cover((3, 2), None), 100) == (3, 2)
    assert sum(allocate(Cover((900, 80, 20), None), 2)) == 2


def test_a_sample_is_random_repeatable_and_of_its_strata(make_map: object) -> None:
    class_map = make_map(some_values((300, 200)))  # type: ignore[operator]
    drawn = draw(class_map, (40, 100, 20), seed=3)
    assert drawn.by_class == (40, 100, 20)
    found = class_map.at(drawn.cols, drawn.rows)
    assert np.bincount(found).tolist() == [40, 100, 20]
    assert len({*zip(drawn.cols.tolist(), drawn.rows.tolist(), strict=True)}) == 160
    again, other = (draw(class_map, (40, 100, 20), seed=seed) for seed in (3, 4))
    assert (again.cols == drawn.cols).all()
    assert not (other.cols == drawn.cols).all()
    assert abs(drawn.rows.mean() - 150) < 25
    assert (np.diff(found) != 0).any()  # not class by class


def test_ground_is_drawn_not_pixels(make_map: object) -> None:
    values = np.full((40, 400), 1)
    class_map = make_map(values, crs="EPSG:4326", transform=DEGREES)  # type: ignore[operator]
    drawn = draw(class_map, (4000, 0, 0), seed=0)
    south = (drawn.rows >= 20).mean()
    assert 0.52 < south < 0.57  # its pixels cover more ground


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_points_are_written_at_pixel_centres(make_map: object, tmp_path: Path, suffix: str) -> None:
    class_map = make_map(some_values())  # type: ignore[operator]
    drawn = draw(class_map, (5, 5, 5), seed=0)
    path = tmp_path / f"points{suffix}"
    write_points(path, class_map.grid, drawn)
    frame = geopandas.read_file(path)
    assert len(frame) == 15
    assert frame["class"].isna().all()
    frame = frame.to_crs("EPSG:32633").sort_values("id")
    assert frame.geometry.x.to_numpy() == pytest.approx(500_000 + 10 * (drawn.cols + 0.5), abs=0.01)
