"""What a label file says is what is trained on: values, names, nodata, masks, grids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pandas
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from rsmeta.config.data import DataSettings, TargetSpec, class_specs
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.labels import LabelRules, open_labels
from rsmeta.data.polygon_labels import class_column, class_of_each
from rsmeta.data.quantities import open_quantity
from rsmeta.errors import LabelsError, RsmetaError
from rsmeta.geo.grid import Grid
from tests.conftest import SOME_PLACE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

GRID = Grid(CRS.from_string("EPSG:32633"), SOME_PLACE, 8, 8)


def rules(classes: Any = None, **more: Any) -> LabelRules:
    return LabelRules(class_specs(classes or {1: "low", 2: "high"}), **more)


def classes_of(cells: Any, given: LabelRules) -> list[int]:
    frame = geopandas.GeoDataFrame({"kind": cells}, geometry=[shapely.Point(0, 0)] * len(cells))
    return class_of_each("labels.gpkg", frame["kind"], given).tolist()  # type: ignore[arg-type]


# -- columns of polygons -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        pandas.Series([1, 2, None]),
        pandas.Series([1, 2, pandas.NA], dtype="Int64"),
        pandas.Series([1, 2, pandas.NA], dtype=object),
        pandas.Series(["1", "2", None]),
        pandas.Series(["1", "2", ""]),
        pandas.Series([" 1", "2 ", "  "]),
        pandas.Series(["1", "2", pandas.NA], dtype="string"),
        pandas.Series([1.0, 2.0, float("nan")]),
    ],
    ids=lambda cells: f"{cells.dtype} {cells[2]!r}",
)
@pytest.mark.parametrize("classes", [["1", "2", "3"], {0: "1", 7: "2"}, {1: "low", 2: "high"}])
def test_an_empty_cell_shifts_no_class(cells: Any, classes: Any) -> None:
    assert classes_of(cells, rules(classes)) == [0, 1, -1]


def test_a_column_holds_names_or_values_never_both() -> None:
    shifted = rules(["1", "2", "3"])  # values 0, 1, 2
    assert classes_of([1, 2, 3], shifted) == [0, 1, 2]
    assert classes_of([0, 1, 2], shifted) == [0, 1, 2]
    with pytest.raises(LabelsError, match="kind=0 is no class"):
        classes_of([0, 1, 3], shifted)
    with pytest.raises(LabelsError, match=r"kind=7 is no class.*data\.ignore"):
        classes_of([1, 2, 7], rules())


def test_names_are_compared_as_people_read_them() -> None:
    assert classes_of(["Gru\u0308nland", "Wald"], rules(["Gr\u00fcnland", "Wald"])) == [0, 1]
    assert classes_of(["Gr\u00fcnland"], rules(["Gru\u0308nland", "Wald"])) == [0]


@given(
    values=st.lists(st.integers(0, 300), min_size=2, max_size=6, unique=True),
    empty=st.sampled_from([None, float("nan"), pandas.NA, pandas.NaT, "", " "]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_any_empty_cell_among_any_values(values: list[int], empty: Any, data: Any) -> None:
    names = data.draw(st.permutations([str(value) for value in values]))
    specs = rules(dict(zip(range(len(names)), names, strict=True)))
    cells = pandas.Series([int(name) for name in names] + [empty], dtype=object)
    wanted = [*range(len(names)), -1]
    assert classes_of(cells, specs) == wanted
    if empty is None or empty is pandas.NA or empty != empty:
        assert classes_of(pandas.Series([*map(int, names), np.nan]), specs) == wanted


def test_an_unlisted_class_is_named_not_the_column() -> None:
    frame = geopandas.GeoDataFrame(
        {"number": [7, 8], "kind": ["low", "highh"]}, geometry=[shapely.Point(0, 0)] * 2
    )
    column = class_column("l.gpkg", frame, rules())  # type: ignore[arg-type]
    assert column == "kind"
    with pytest.raises(LabelsError, match="'highh' is no class; did you mean 'high'"):
        class_of_each("l.gpkg", frame[column], rules())  # type: ignore[arg-type]


# -- rasters -----------------------------------------------------------------------------------


def test_a_nodata_value_that_is_a_class_is_no_label_and_said(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    array = np.tile(np.uint8([1, 2]), (8, 4))
    path = make_scene(tmp_path / "labels.tif", array, nodata=2)
    read = open_labels(path, GRID, rules()).read(GRID.full_window)
    assert (read == np.where(array == 1, 0, -1)).all()
    assert "'high' has the value 2, which the file declares as nodata" in caplog.text


@pytest.mark.parametrize("pixel_m", [10, 5, 20])
def test_masked_labels_are_no_labels(tmp_path: Path, pixel_m: int) -> None:
    side = 80 // pixel_m
    array = np.ones((side, side), np.uint8)
    mask = np.full((side, side), 255, np.uint8)
    mask[: side // 2] = 0
    there = Affine(pixel_m, 0, SOME_PLACE.c, 0, -pixel_m, SOME_PLACE.f)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        tmp_path / "labels.tif", "w", driver="GTiff", width=side, height=side, count=1,
        dtype="uint8", crs="EPSG:32633", transform=there,
    ) as file:  # fmt: skip
        file.write(array, 1)
        file.write_mask(mask)
    read = open_labels(tmp_path / "labels.tif", GRID, rules()).read(GRID.full_window)
    assert (read[:4] == -1).all()
    assert (read[4:] == 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("ignore", [-9999, -1, 300, 2**40])
@pytest.mark.parametrize("aligned", [True, False])
def test_ignored_values_beyond_the_type_are_none_of_its_values(
    make_scene: MakeScene, tmp_path: Path, dtype: str, ignore: int, aligned: bool
) -> None:
    array = np.tile(np.array([1, 2], dtype), (8, 4))
    held = dtype.startswith("f") or np.iinfo(dtype).min <= ignore <= np.iinfo(dtype).max
    if held:
        array[0, 0] = ignore
    shifted = SOME_PLACE if aligned else Affine(10, 0, SOME_PLACE.c + 3, 0, -10, SOME_PLACE.f + 3)
    path = make_scene(tmp_path / "labels.tif", array, transform=shifted)
    wanted = array.astype(float) - 1
    wanted[0, 0] = -1 if held else 0
    given = rules(ignore=(ignore,))
    assert (open_labels(path, GRID, given).read(GRID.full_window) == wanted).all()
    target = TargetSpec(name="height", nodata=ignore)
    read = open_quantity(path, GRID, target).read(GRID.full_window)
    assert np.array_equal(read, np.where(wanted < 0, np.nan, wanted + 1), equal_nan=True)


@given(number=st.one_of(st.floats(allow_nan=True), st.integers(-(2**70), 2**70)), data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_number_equals_only_itself_in_any_type(number: float, data: Any) -> None:
    from rsmeta.data.raster_labels import equals

    dtype = data.draw(st.sampled_from(["uint8", "int8", "uint16", "int32", "uint32", "float64"]))
    values = np.array([0, 1, 80, 100], dtype)
    wanted = [value == number for value in (0, 1, 80, 100)]
    assert equals(values, number).tolist() == wanted


def test_a_fraction_is_no_whole_number_and_a_float_is_compared_in_its_type(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    path = make_scene(tmp_path / "a.tif", np.full((8, 8), 80, np.uint8))
    target = TargetSpec(name="height", nodata=80.5)
    assert (open_quantity(path, GRID, target).read(GRID.full_window) == 80).all()
    path = make_scene(tmp_path / "b.tif", np.full((8, 8), 0.1, np.float32))
    target = TargetSpec(name="height", nodata=0.1)
    assert np.isnan(open_quantity(path, GRID, target).read(GRID.full_window)).all()


# -- other grids -------------------------------------------------------------------------------


@given(
    factor=st.floats(0.7, 1.4).filter(lambda f: abs(f - 1) > 1e-4),
    lon=st.floats(-170, 170),
    pixel=st.sampled_from([1e-5, 8.983e-5, 1e-3, 10.0]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_labels_of_another_pixel_size_are_read_where_they_lie(
    make_scene: MakeScene, tmp_path: Path, factor: float, lon: float, pixel: float
) -> None:
    crs = "EPSG:4326" if pixel < 1 else "EPSG:32633"
    x, y = (lon, 50.0) if pixel < 1 else (500_000.0, 5_150_000.0)
    side = 90
    array = (np.indices((side, side)).sum(axis=0) // 3 % 2 + 1).astype(np.uint8)
    size = pixel * factor
    path = make_scene(
        tmp_path / "labels.tif", array, crs=crs, transform=Affine(size, 0, x, 0, -size, y)
    )
    grid = Grid(CRS.from_string(crs), Affine(pixel, 0, x, 0, -pixel, y), 60, 60)
    read = open_labels(path, grid, rules()).read(grid.full_window)
    place = (np.arange(60) + 0.5) / factor
    sure = np.abs(place - np.round(place)) > 1e-2  # not at the edge of a label pixel
    index = np.floor(place).astype(int)
    there = np.ix_(np.flatnonzero(sure), np.flatnonzero(sure))
    assert (read[there] == (array[np.ix_(index, index)] - 1.0)[there]).all()


@pytest.mark.parametrize("dx", [0.0, 0.04, -0.04])
@pytest.mark.parametrize("start", [(0, 0), (3, -2)])
def test_labels_on_the_scenes_pixels_are_copied(
    make_scene: MakeScene, tmp_path: Path, dx: float, start: tuple[int, int]
) -> None:
    array = np.random.default_rng(0).integers(1, 3, (20, 20)).astype(np.uint8)
    there = Affine(10, 0, SOME_PLACE.c + 10 * (start[0] + dx), 0, -10, SOME_PLACE.f - 10 * start[1])
    path = make_scene(tmp_path / "labels.tif", array, transform=there)
    grid = Grid(GRID.crs, SOME_PLACE, 30, 30)
    read = open_labels(path, grid, rules()).read(grid.full_window)
    wanted = np.full((40, 40), -1)
    wanted[10 + start[1] : 30 + start[1], 10 + start[0] : 30 + start[0]] = array - 1.0
    assert (read == wanted[10:, 10:]).all()


def test_labels_without_a_crs_for_a_scene_with_one(make_scene: MakeScene, tmp_path: Path) -> None:
    path = make_scene(tmp_path / "labels.tif", np.ones((8, 8), np.uint8), crs=None)
    with pytest.raises(LabelsError, match=r"labels.tif has no CRS and the scene has one"):
        open_labels(path, GRID, rules())
    bare = Grid(None, Affine(5, 0, SOME_PLACE.c, 0, -5, SOME_PLACE.f), 16, 16)
    assert (open_labels(path, bare, rules()).read(bare.full_window) == 0).all()


# -- nothing to learn --------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["blocks", "files"])
@pytest.mark.parametrize("what", ["nodata", "ignored", "invalid scene", "target", "polygons"])
def test_labels_without_a_label_are_one_line(
    make_scene: MakeScene, tmp_path: Path, what: str, by: str
) -> None:
    image = np.full((1, 64, 64), -9 if what == "invalid scene" else 1, np.float32)
    make_scene(tmp_path / "s.tif", image, descriptions=("red",), nodata=-9)
    make_scene(
        tmp_path / "l.tif",
        np.ones((64, 64), np.uint8),
        nodata=1 if what in ("nodata", "target") else None,
    )
    given: dict[str, Any] = {
        "root": tmp_path, "scenes": "s.tif", "labels": "l.tif", "classes": {2: "a", 3: "b"},
        "split": by, "chip_px": 16,
    }  # fmt: skip
    if what == "target":
        given |= {"target": {"name": "height"}, "classes": ()}
    elif what == "ignored":
        given["ignore"] = 1
    elif what == "invalid scene":
        given["classes"] = {1: "a", 3: "b"}
    elif what == "polygons":
        box = shapely.box(500_000, 5_149_900, 500_100, 5_150_000)
        geopandas.GeoDataFrame({"kind": [None]}, geometry=[box], crs="EPSG:32633").to_file(
            tmp_path / "l.gpkg"
        )
        given |= {"labels": "l.gpkg", "class_column": "kind"}
    with pytest.raises(RsmetaError, match=r"no labelled.*pixel|separate place") as caught:
        SceneDataModule(DataSettings.model_validate(given), seed=0)
    assert "\n" not in str(caught.value)


# -- numbers of a product ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sensor", "names", "scale", "fix"),
    [
        ("sentinel2_l2a", ("B04", "B08"), 3000.0, "set data.scale=0.0001 if"),
        ("sentinel2_l1c", ("B04", "B08"), 3000.0, "set data.scale=0.0001 if"),
        ("landsat_oli", ("B4", "B5"), 9000.0, "set data.scale=2.75e-05 data.offset=-0.2"),
        ("sentinel2_l2a", ("B04", "B08"), 0.3, None),
        ("rgb", ("red", "green"), 120.0, None),
        (None, ("B04", "other"), 3000.0, None),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unscaled_numbers_of_a_known_sensor_are_said_with_their_scale(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    sensor: str | None, names: tuple[str, ...], scale: float, fix: str | None, dtype: str,
) -> None:  # fmt: skip
    image = (scale * np.random.default_rng(0).uniform(0.5, 1.5, (2, 64, 64))).astype(dtype)
    make_scene(tmp_path / "s.tif", image)
    make_scene(tmp_path / "l.tif", np.indices((64, 64))[0].astype(np.uint8) % 2)
    given_ = {"root": tmp_path, "scenes": "s.tif", "labels": "l.tif", "classes": ["a", "b"],
              "sensor": sensor, "bands": names, "chip_px": 16}  # fmt: skip
    data = SceneDataModule(DataSettings.model_validate(given_), seed=0)
    assert np.allclose(data.statistics[0], scale, rtol=0.1)
    said = [record.getMessage() for record in caplog.records if "reflectance" in record.msg]
    assert bool(said) == (fix is not None)
    assert fix is None or (len(said) == 1 and fix in said[0] and names[0] in said[0])


def test_values_made_for_display_are_no_unscaled_reflectance(
    make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = np.random.default_rng(0).integers(20, 160, (2, 64, 64))
    make_scene(tmp_path / "s.tif", image.astype(np.uint8))
    make_scene(tmp_path / "l.tif", np.indices((64, 64))[0].astype(np.uint8) % 2)
    given_ = {"root": tmp_path, "scenes": "s.tif", "labels": "l.tif", "classes": ["a", "b"],
              "sensor": "sentinel2_l2a", "bands": ["B04", "B08"], "chip_px": 16}  # fmt: skip
    data = SceneDataModule(DataSettings.model_validate(given_), seed=0)
    assert data.statistics[0].mean() == pytest.approx(90, abs=5)
    assert not [record for record in caplog.records if "reflectance" in record.msg]


def test_no_validation_part_beside_polygons_for_testing(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    make_scene(tmp_path / "s.tif", np.ones((1, 64, 64), np.float32), descriptions=("red",))
    make_scene(tmp_path / "l.tif", np.indices((64, 64))[0].astype(np.uint8) % 2)
    box = shapely.box(500_000, 5_149_700, 500_300, 5_150_000)
    geopandas.GeoDataFrame(geometry=[box], crs="EPSG:32633").to_file(tmp_path / "test.gpkg")
    given_ = {
        "root": tmp_path,
        "scenes": "s.tif",
        "labels": "l.tif",
        "classes": ["a", "b"],
        "chip_px": 16,
        "split": {"by": "polygons", "validation": 0, "test": "test.gpkg"},
    }
    data = SceneDataModule(DataSettings.model_validate(given_), seed=0)
    assert {part: bool(scenes) for part, scenes in data.parts.items()} == {
        "train": True, "validation": False, "test": True,
    }  # fmt: skip
