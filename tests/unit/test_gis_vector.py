"""Polygons of class maps: right, valid, without gaps, and the same in every format."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from pyarrow import parquet
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter, label

from rsmeta.config.polygons import PolygonSettings
from rsmeta.errors import GridMismatchError, OutputError, SceneError
from rsmeta.files import partial_folder
from rsmeta.gis.vector import FORMATS, open_map, polygons_of, vectorise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeScene

    MakeMap = Callable[..., Path]

NODATA = 255
NODATA_16 = 65535
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")


@pytest.fixture
def make_map(make_scene: MakeScene, tmp_path: Path) -> MakeMap:
    """Return a function that writes a class map as predict does, with pixels of 10 m."""

    def make(values: Any, name: str = "map.tif", **options: Any) -> Path:
        dtype = options.pop("dtype", np.uint8)
        array = np.asarray(values, dtype=dtype)
        nodata = NODATA if dtype is np.uint8 else NODATA_16
        path = make_scene(tmp_path / name, array, nodata=nodata, **options)
        named = range(len(COLOURS)) if dtype is np.uint8 else np.unique(array[array != nodata])
        classes = [
            {"value": int(i), "name": f"class {i}", "colour": COLOURS[i % len(COLOURS)]}
            for i in named
        ]
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(RSMETA_CLASSES=json.dumps(classes))
        return path

    return make


def landscape(shape: tuple[int, int], seed: int, *, classes: int = 3, rough: float = 1.0) -> Any:
    """Return patches of classes with holes, islands and corners that touch."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), rough)
    steps = np.quantile(field, np.linspace(0, 1, classes + 1)[1:-1])
    return np.digitize(field, steps).astype(np.uint8)


def all_polygons(path: Path, rows: int, **settings: Any) -> tuple[Any, Any, Any]:
    """Return shapes, class values and pixels of a map that is seen in strips of some rows."""
    source = replace(open_map(path), strip_rows=rows)
    portions = list(polygons_of(source, PolygonSettings(**settings)))
    if not portions:
        return np.zeros(0, dtype=object), np.zeros(0), np.zeros(0)
    return tuple(np.concatenate([getattr(p, k) for p in portions]) for k in portions[0]._fields[:3])


def count_regions(values: Any) -> int:
    return sum(int(label(values == value)[1]) for value in np.unique(values[values != NODATA]))


SHAPES = [(1, 1), (1, 23), (19, 1), (37, 41)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_each_region_is_one_valid_polygon_of_its_pixels(
    make_map: MakeMap, shape: tuple[int, int], rows: int
) -> None:
    for seed in range(2):
        values = landscape(shape, seed, rough=0.7 * seed)
        values[np.random.default_rng(seed).random(shape) < 0.1 * seed] = NODATA
        path = make_map(values, f"{seed}.tif")
        shapes, classes, pixels = all_polygons(path, rows)
        assert len(shapes) == count_regions(values)
        assert shapely.is_valid(shapes).all()
        assert np.allclose(shapely.area(shapes), pixels * 100)
        assert pixels.sum() == np.count_nonzero(values != NODATA)
        assert len(shapes) == 0 or shapely.coverage_is_valid(shapes)
        with rasterio.open(path) as dataset:
            transform = dataset.transform
        drawn = np.full(shape, NODATA)
        if len(shapes):
            named = zip(shapes, classes, strict=True)
            drawn = rasterize(named, shape, fill=NODATA, transform=transform, dtype="uint8")
        assert np.array_equal(drawn, values)


def test_the_polygons_do_not_depend_on_the_strips(make_map: MakeMap) -> None:
    path = make_map(landscape((60, 50), 1, rough=0.8))
    whole, *_ = all_polygons(path, 1000)
    for rows in (1, 13):
        parts, *_ = all_polygons(path, rows)
        texts = [set(shapely.to_wkb(shapely.normalize(some))) for some in (whole, parts)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("empty", [slice(40, 60), slice(0, 20), slice(20, 40), slice(0, 60)])
def test_strips_without_a_region_are_passed_over(make_map: MakeMap, empty: slice) -> None:
    values = landscape((60, 50), 1, rough=0.8)
    values[empty] = NODATA
    path = make_map(values)
    for rows in (1, 13, 1000):
        assert len(all_polygons(path, rows)[0]) == count_regions(values)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("simplify_px", [0.0, 0.8, 3.0, 20.0])
def test_shaped_neighbours_have_no_gaps(
    make_map: MakeMap, *, smooth: bool, simplify_px: float
) -> None:
    for seed, rough in enumerate((0.0, 0.6, 1.5, 4.0)):
        values = landscape((70, 60), seed, rough=rough)
        shapes, *_ = all_polygons(
            make_map(values, f"{seed}.tif"), 16, smooth=smooth, simplify_px=simplify_px
        )
        assert len(shapes) == count_regions(values)
        assert shapely.is_valid(shapes).all()
        assert shapely.coverage_is_valid(shapes)  # no gap, no overlap, the same points
        assert shapely.area(shapes).sum() == pytest.approx(values.size * 100)
        assert shapely.area(shapely.union_all(shapes)) == pytest.approx(values.size * 100)


def test_simplified_and_smoothed_outlines_have_fewer_and_blunter_bends(make_map: MakeMap) -> None:
    triangle = np.tri(40, 40, dtype=np.uint8)
    path = make_map(triangle)
    stairs, *_ = all_polygons(path, 1000)
    straight, *_ = all_polygons(path, 1000, simplify_px=1.0)
    sloped, *_ = all_polygons(path, 1000, smooth=True)
    assert shapely.get_num_coordinates(stairs).sum() > 150
    assert shapely.get_num_coordinates(straight).sum() < 20
    assert shapely.length(sloped).sum() < 0.9 * shapely.length(stairs).sum()
    moved = shapely.hausdorff_distance(straight[0].exterior, stairs[0].exterior)
    assert 0 < moved <= 10.0 * 1.0001


def test_small_regions_go_to_a_neighbour_and_the_whole_area_stays(make_map: MakeMap) -> None:
    values = landscape((80, 90), 3, rough=0.9)
    values[40:, :30] = NODATA
    values[60, 10] = 1  # an island in nothing: it has no neighbour, and stays
    path = make_map(values)
    shapes, _, pixels = all_polygons(path, 11, smallest_m2=2000)
    areas = pixels * pixel_m2(path)
    assert (areas < 2000).sum() == 1
    assert len(shapes) < 0.3 * count_regions(values)
    assert pixels.sum() == np.count_nonzero(values != NODATA)
    assert np.allclose(shapely.area(shapes), pixels * 100)
    assert shapely.coverage_is_valid(shapes)


def test_what_becomes_neighbours_of_one_class_is_one_region(make_map: MakeMap) -> None:
    values = np.zeros((9, 20), dtype=np.uint8)
    values[:, 10] = 1  # a thin wall between two halves of one class
    shapes, classes, pixels = all_polygons(make_map(values), 4, smallest_m2=1000)
    assert (len(shapes), classes.tolist(), pixels.tolist()) == (1, [0], [180])
    assert shapely.area(shapes).tolist() == [18_000]


def pixel_m2(path: Path) -> float:
    """Return the area on the ellipsoid of a pixel in the middle of a map."""
    with rasterio.open(path) as dataset:
        cell = dataset.window_bounds(
            rasterio.windows.Window(dataset.width // 2, dataset.height // 2, 1, 1)
        )
        crs = pyproj.CRS.from_wkt(dataset.crs.to_wkt())
    to_degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    corners = shapely.transform(shapely.box(*cell), to_degrees.transform, interleaved=False)
    return abs(float(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(corners)[0]))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", Affine(10, 0, 300_000, 0, -10, 5_150_000)),
        ("EPSG:4326", Affine(1e-4, 0, 15, 0, -1e-4, 46)),
        ("EPSG:3857", Affine(10, 0, 1_700_000, 0, -10, 5_800_000)),
        ("EPSG:2263", Affine(30, 0, 1_000_000, 0, -30, 200_000)),  # feet
    ],
)
def test_areas_are_those_on_the_ellipsoid(
    make_map: MakeMap, tmp_path: Path, crs: str, transform: Affine
) -> None:
    path = make_map(landscape((50, 40), 5), crs=crs, transform=transform)
    frame = pyogrio.read_dataframe(vectorise(path, tmp_path / "map.fgb"))
    assert frame["area_m2"].sum() == pytest.approx(2000 * pixel_m2(path), rel=1e-4)
    geod = pyproj.CRS.from_user_input(frame.crs).get_geod()
    shapes = shapely.segmentize(frame.geometry.values, transform.a / 2)
    geographic = pyproj.CRS.from_user_input(frame.crs).geodetic_crs
    degrees = geopandas.GeoSeries(shapes, crs=frame.crs).to_crs(geographic)
    on_ground = [abs(geod.geometry_area_perimeter(shape)[0]) for shape in degrees]
    assert np.allclose(frame["area_m2"], on_ground, rtol=1e-4)


@pytest.fixture
def sure_map(make_map: MakeMap, make_scene: MakeScene, tmp_path: Path) -> tuple[Path, Path]:
    """A map of two halves and a hole, and its confidence: 0.25 and 0.75."""
    values = np.zeros((8, 8), dtype=np.uint8)
    values[:, 4:] = 1
    values[2:4, 1:3] = NODATA
    sure = np.where(values == 1, 0.75, 0.25).astype(np.float32)
    sure[values == NODATA] = np.nan
    return make_map(values), make_scene(tmp_path / "sure.tif", sure, nodata=np.nan)


def read_back(path: Path) -> Any:
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    return pyogrio.read_dataframe(path, layer=path.stem)  # beside it lies the style of a .gpkg


@pytest.mark.parametrize("ending", FORMATS)
def test_each_format_tells_the_same(
    sure_map: tuple[Path, Path], tmp_path: Path, ending: str
) -> None:
    path = vectorise(sure_map[0], tmp_path / f"out{ending}", confidence=sure_map[1])
    frame = read_back(path)
    if ending == ".geojson":
        assert frame.crs == "EPSG:4326"
        frame = frame.to_crs("EPSG:32633")
    assert frame.crs == "EPSG:32633"
    frame = frame.sort_values("value")
    assert frame["class"].tolist() == ["class 0", "class 1"]
    assert frame["pixels"].tolist() == [28, 32]
    assert frame["confidence"].tolist() == pytest.approx([0.25, 0.75])
    assert np.allclose(frame.geometry.area, [2800, 3200], rtol=1e-3)
    assert [len(shape.interiors) for shape in frame.geometry] == [1, 0]
    assert all(shape.exterior.is_ccw for shape in frame.geometry)
    assert not partial_folder(path).exists()


def test_geopackage_brings_its_style(sure_map: tuple[Path, Path], tmp_path: Path) -> None:
    path = vectorise(sure_map[0], tmp_path / "out.gpkg")
    with sqlite3.connect(path) as database:
        name, column, qml, sld, default = database.execute(
            "SELECT f_table_name, f_geometry_column, styleQML, styleSLD, useAsDefault "
            "FROM layer_styles"
        ).fetchone()
    assert (name, column, default) == ("out", "geom", 1)
    for text in (qml, sld):
        assert "class 0" in text
        assert "class 5" in text
    assert "0,114,178,255" in qml
    assert "#0072b2" in sld


def test_geoparquet_says_what_it_is(sure_map: tuple[Path, Path], tmp_path: Path) -> None:
    path = vectorise(sure_map[0], tmp_path / "out.parquet")
    geo = json.loads(parquet.read_schema(path).metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert geo["version"] == "1.1.0"
    assert column["geometry_types"] == ["Polygon"]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32633}
    assert column["bbox"] == [500_000, 5_149_920, 500_080, 5_150_000]
    left = geopandas.read_parquet(path, bbox=(500_000, 5_149_920, 500_010, 5_150_000))
    assert left["class"].tolist() == ["class 0"]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_map_without_a_pixel_gives_a_file_without_a_polygon(
    make_map: MakeMap, tmp_path: Path, ending: str
) -> None:
    path = vectorise(make_map(np.full((4, 5), NODATA)), tmp_path / f"out{ending}")
    assert len(read_back(path)) == 0


def test_without_crs_there_are_shapes_but_no_areas(make_map: MakeMap, tmp_path: Path) -> None:
    path = make_map(landscape((9, 9), 0), crs=None)
    frame = read_back(vectorise(path, tmp_path / "out.gpkg"))
    assert "area_m2" not in frame
    assert frame["pixels"].sum() == 81
    with pytest.raises(SceneError, match="has no CRS"):
        vectorise(path, tmp_path / "b.gpkg", settings=PolygonSettings(smallest_m2=5))


def test_a_file_is_replaced_only_on_request_and_only_by_a_whole_one(
    make_map: MakeMap, make_scene: MakeScene, tmp_path: Path
) -> None:
    path = vectorise(make_map(landscape((20, 20), 0)), tmp_path / "out.gpkg")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        vectorise(tmp_path / "map.tif", path)
    broken = make_map(np.full((9, 9), 77), "broken.tif")
    with pytest.raises(SceneError, match="holds the value 77"):
        vectorise(broken, path, overwrite=True)
    assert path.read_bytes() == before
    vectorise(make_map(np.zeros((3, 3)), "other.tif"), path, overwrite=True)
    assert len(read_back(path)) == 1
    assert not partial_folder(path).exists()


def test_what_cannot_be_done_is_said(
    make_map: MakeMap, make_scene: MakeScene, tmp_path: Path
) -> None:
    path = make_map(np.zeros((4, 4)))
    plain = make_scene(tmp_path / "plain.tif", np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(OutputError, match=r"out\.shp: no format .* \.gpkg, \.parquet"):
        vectorise(path, tmp_path / "out.shp")
    with pytest.raises(SceneError, match="does not name its classes"):
        vectorise(plain, tmp_path / "out.gpkg")
    other = make_scene(tmp_path / "other.tif", np.zeros((5, 4), dtype=np.float32))
    with pytest.raises(GridMismatchError, match="does not lie on the grid"):
        vectorise(path, tmp_path / "out.gpkg", confidence=other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "other.tif", "plain.tif"]
    with pytest.raises(OutputError, match=r"s3://maps/out\.gpkg; name a local file"):
        vectorise(path, "s3://maps/out.gpkg")


@pytest.mark.parametrize("ending", FORMATS)
def test_more_than_255_classes_and_a_single_pixel(
    make_map: MakeMap, tmp_path: Path, ending: str
) -> None:
    values = 3 * np.arange(400).reshape(20, 20)  # up to 1197
    values[4:7, 4:7] = NODATA_16
    values[10, :] = 1000
    frame = read_back(vectorise(make_map(values, dtype=np.uint16), tmp_path / f"many{ending}"))
    known = values[values != NODATA_16]
    assert frame.groupby("value")["pixels"].sum().to_dict() == {
        value: (known == value).sum() for value in np.unique(known)
    }
    assert (frame["class"] == [f"class {value}" for value in frame["value"]]).all()
    assert shapely.is_valid(frame.geometry).all()
    one = read_back(vectorise(make_map([[2]], "one.tif"), tmp_path / f"one{ending}"))
    assert one[["class", "value", "pixels"]].to_numpy().tolist() == [["class 2", 2, 1]]
    assert one.geometry[0].is_valid
    assert one["area_m2"][0] == pytest.approx(100, rel=0.01)


def test_real_clouds_keep_their_areas(shared_data: Path, make_map: MakeMap, tmp_path: Path) -> None:
    with rasterio.open(shared_data / "cloudmask" / "landsat7_mask.tif") as dataset:
        values, place = dataset.read(1), {"crs": dataset.crs, "transform": dataset.transform}
    source = make_map(values, **place)
    plain = read_back(vectorise(source, tmp_path / "plain.gpkg"))
    assert len(plain) == count_regions(values)
    settings = PolygonSettings(smallest_m2=20_000, simplify_px=1.0)
    drawn = read_back(vectorise(source, tmp_path / "drawn.gpkg", settings=settings))
    assert 0 < len(drawn) < len(plain) / 3
    for frame in (plain, drawn):
        assert frame["pixels"].sum() == np.count_nonzero(values != NODATA)
        assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    assert drawn["area_m2"].sum() == pytest.approx(plain["area_m2"].sum(), rel=1e-9)
    assert drawn.geometry.area.sum() == pytest.approx(plain.geometry.area.sum(), rel=1e-9)


def test_it_is_told_how_far_it_is(make_map: MakeMap, tmp_path: Path) -> None:
    for settings in (PolygonSettings(), PolygonSettings(smallest_m2=500)):
        told: list[float] = []
        vectorise(
            make_map(landscape((30, 30), 0)), tmp_path / "out.fgb", settings=settings,
            overwrite=True, on_progress=told.append,
        )  # fmt: skip
        assert told == sorted(told)
        assert told[-1] == 1
        assert len(told) >= 2


#: Writes polygons, and is killed when half of them have arrived.
KILLED = """
import os, signal, sys
from dataclasses import replace
from rsmeta.gis import vector

def slowly(path, confidence):
    return replace(opened(path, confidence), strip_rows=4)

opened, vector.open_map = vector.open_map, slowly
vector.vectorise(
    sys.argv[1], sys.argv[2],
    on_progress=lambda share: os.kill(os.getpid(), signal.SIGKILL) if share > 0.75 else None,
)
"""


@pytest.mark.parametrize("ending", FORMATS)
def test_a_kill_leaves_no_file_and_does_not_disturb_the_next_call(
    make_map: MakeMap, tmp_path: Path, ending: str
) -> None:
    source, path = make_map(landscape((60, 60), 0)), tmp_path / f"out{ending}"
    words = [sys.executable, "-c", KILLED, str(source), str(path)]
    ended = subprocess.run(words, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not path.exists()
    left = partial_folder(path)
    assert left.is_dir()
    (left / f"{path.name}-journal").write_bytes(b"of a database that is no more")
    vectorise(source, path)
    assert len(read_back(path)) == count_regions(landscape((60, 60), 0))
    assert not left.exists()
