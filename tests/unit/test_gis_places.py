"""What comes with a map holds wherever the map lies, and never costs the map."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS

from rsmeta.errors import OutputError
from rsmeta.geo.footprint import footprint
from rsmeta.geo.grid import Grid
from rsmeta.gis.outputs import quicklook, rasters
from rsmeta.gis.outputs.products import Products
from rsmeta.gis.vector import vectorise
from rsmeta.workflows.mapping import sidecars
from rsmeta.workflows.mapping.predict_scenes import predict
from rsmeta.workflows.report import MapSources, report
from tests.unit.test_gis_composite import GRIDS, grid
from tests.unit.test_gis_maps import THREE, Steps, bundle_with

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

SMALL = Affine(10, 0, 0, 0, -10, 0)
#: Places at which projections end, are singular, or lead nowhere.
ODD = {
    "no CRS": Grid(None, SMALL, 20, 30),
    "engineering": Grid(CRS.from_wkt('LOCAL_CS["mine",UNIT["metre",1]]'), SMALL, 20, 30),
    "geocentric": Grid(CRS.from_epsg(4978), SMALL, 20, 30),
    "world": Grid(CRS.from_epsg(4326), Affine(12, 0, -180, 0, -9, 90), 20, 30),
    "world from 0": Grid(CRS.from_epsg(4326), Affine(12, 0, 0, 0, -9, 90), 20, 30),
    "grads": Grid(CRS.from_epsg(4807), Affine(1e-3, 0, 2, 0, -1e-3, 50), 20, 30),
    "half the Earth": Grid(
        CRS.from_string("+proj=ortho +lat_0=40 +lon_0=10"),
        Affine(9e5, 0, -9e6, 0, -9e5, 9e6), 20, 20,
    ),
    "geostationary": Grid(
        CRS.from_string("+proj=geos +h=35785831 +lon_0=0 +sweep=y"),
        Affine(6e5, 0, -6e6, 0, -6e5, 6e6), 20, 20,
    ),
    "nowhere": grid("EPSG:32633", 5e9, 5e9, 30),
    "one pixel": grid("EPSG:32633", 5e5, 5e6, 30, (1, 1)),
}  # fmt: skip
PLACES = {**GRIDS, **ODD}


def scene_at(make_scene: MakeScene, path: Path, place: Grid) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.random((2, *place.shape), dtype=np.float32)
    crs = None if place.crs is None else place.crs.to_wkt()
    make_scene(path, pixels, descriptions=("red", "nir"), crs=crs, transform=place.transform)
    return path


def everything(folder: Path) -> Products:
    return Products(
        folder / "m.tif", confidence=folder / "c.tif", vector=folder / "m.gpkg",
        quicklook=folder / "m.png", stac=folder / "m.json",
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["UTM 1 over 180", "190", "rotated", "north pole", "south pole", *ODD]
)
def test_a_map_comes_with_everything_wherever_it_lies(
    make_scene: MakeScene, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = scene_at(make_scene, tmp_path / "s.tif", PLACES[name])
    predict(scene, bundle_with(Steps(3), THREE), output=everything(tmp_path), execution="cpu")
    assert not [one for one in caplog.messages if "was left out" in one]
    for path in everything(tmp_path).paths:
        assert path.stat().st_size, path
    item = json.loads((tmp_path / "m.json").read_text())
    assert (item["geometry"] is None) == ("bbox" not in item)
    if "bbox" in item:
        west, south, east, north = item["bbox"]
        assert -180 <= west <= 180
        assert -180 <= east <= 180
        assert -90 <= south <= north <= 90
        bounds = shapely.bounds(
            shapely.get_parts(shapely.from_geojson(json.dumps(item["geometry"])))
        )
        assert (west > east) == (len(bounds) > 1)  # RFC 7946: cut there, and only there
        assert bounds[:, 1].min() == pytest.approx(south)
    page = report(
        tmp_path / "m.tif", output=tmp_path / "r.html",
        sources=MapSources(scene=scene, confidence=tmp_path / "c.tif"),
    )  # fmt: skip
    assert page.stat().st_size


@pytest.mark.parametrize("name", [*GRIDS, "world", "world from 0", "grads"])
def test_geojson_covers_the_map_once_whatever_the_longitudes(
    make_scene: MakeScene, tmp_path: Path, name: str
) -> None:
    place = PLACES[name]
    scene = scene_at(make_scene, tmp_path / "s.tif", place)
    predict(scene, bundle_with(Steps(3), THREE), output=tmp_path / "m.tif", execution="cpu")
    path = vectorise(tmp_path / "m.tif", tmp_path / "m.geojson")
    features = json.loads(path.read_text())["features"]
    shapes = np.array([shapely.from_geojson(json.dumps(one["geometry"])) for one in features])
    assert shapely.is_valid(shapes).all()
    assert not shapely.is_empty(shapes).any()
    lon, lat = shapely.get_coordinates(shapes).T
    assert np.abs(lon).max() <= 180
    assert np.abs(lat).max() <= 90
    expected = footprint(place)
    assert expected is not None
    if "pole" not in name:  # straight lines in degrees are not straight there
        assert shapely.area(shapes).sum() == pytest.approx(expected.area, rel=1e-3)
        assert shapely.union_all(shapes).area == pytest.approx(expected.area, rel=1e-3)


@pytest.mark.parametrize("name", ["half the Earth", "geostationary", "nowhere"])
def test_geojson_of_a_map_that_reaches_beyond_the_earth_is_refused_before_any_work(
    make_scene: MakeScene, tmp_path: Path, name: str
) -> None:
    scene = scene_at(make_scene, tmp_path / "s.tif", ODD[name])
    wanted = Products(tmp_path / "m.tif", vector=tmp_path / "m.geojson")
    with pytest.raises(OutputError, match="beyond the Earth"):
        predict(scene, bundle_with(Steps(3), THREE), output=wanted, execution="cpu")
    assert [one.name for one in tmp_path.iterdir()] == ["s.tif"]


@pytest.mark.parametrize(
    ("module", "function", "lost"),
    [
        (sidecars, "item_text", ["m.json"]), (quicklook, "place_marks", ["m.png"]),
        (rasters, "qml_text", ["m.qml", "c.qml"]), (rasters, "pam_text", ["m.tif.aux.xml"]),
    ],
)  # fmt: skip
def test_what_only_decorates_may_fail_and_the_map_stays(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, module: Any, function: str, lost: list[str],
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise ValueError("cannot be drawn")

    monkeypatch.setattr(module, function, fail)
    scene = scene_at(make_scene, tmp_path / "s.tif", GRIDS["UTM 33"])
    with caplog.at_level(logging.WARNING):
        predict(scene, bundle_with(Steps(3), THREE), output=everything(tmp_path), execution="cpu")
    for name in lost:
        assert not (tmp_path / name).exists()
        (warning,) = (one for one in caplog.messages if f"{name} was left out" in one)
        assert "cannot be drawn" in warning
    kept = {"m.tif", "c.tif", "m.gpkg", "m.json", "m.png", "m.qml"} - set(lost)
    assert kept <= {one.name for one in tmp_path.iterdir()}
    assert not list(tmp_path.glob(".*"))
    with rasterio.open(tmp_path / "m.tif") as file:
        assert (file.read(1) != 255).all()
