"""Outputs of any name: they are written under it, or refused before any work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pyogrio
import pytest
import rasterio

from rsmeta.errors import OutputError
from rsmeta.gis.class_map import open_class_map
from rsmeta.gis.outputs.products import Products
from rsmeta.gis.sampling import draw, write_points
from rsmeta.gis.tags import CLASSES, classes_text
from rsmeta.gis.vector import FORMATS, vectorise
from rsmeta.workflows.mapping.predict_scenes import predict
from tests.unit.mapping_bundles import random_scene
from tests.unit.test_gis_maps import THREE, Steps, bundle_with

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene

#: Names that mean something to a shell, to SQL, to URLs, to GDAL or to its Python interfaces.
NAMES = [
    "(1) map", "[x]", "-d", "@a", "~t", 'a"b', "a'b", "a`b", "50%", "%41", "a%20b", "a:b", "zip:a",
    ".hidden", "a;b", "a,b", "a\\b", "a!b", "a?b", "a#b", "a*b", "a|layername=b", "<a>", "{a}",
    "=a", "+a", "&", " lead", "trail ", "a\tb", "a\nb", "日本", "u\u0308", "1", "select", "fid",
    "layer_styles", "gpkg_contents", "sqlite_a", "rtree_a_geom", "ogr_empty_table", "x" * 240,
    "é" * 115,
]  # fmt: skip


@pytest.fixture
def class_map(make_scene: MakeScene, tmp_path: Path) -> Path:
    values = np.ones((12, 12), dtype=np.uint8)
    values[5:9, 5:9] = 2
    (tmp_path / "source").mkdir()
    path = make_scene(tmp_path / "source" / "map.tif", values, nodata=255)
    classes = bundle_with(Steps(2), {1: "water", 2: "land"}).record.classes
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{CLASSES: classes_text(classes)})
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_polygons_are_written_under_any_name(class_map: Path, tmp_path: Path, suffix: str) -> None:
    for name in NAMES:
        path = tmp_path / f"{name}{suffix}"
        vectorise(class_map, path)
        plain = path.rename(tmp_path / f"read{suffix}")
        if suffix != ".parquet":
            layer = pyogrio.list_layers(plain)[0][0]
            assert pyogrio.read_info(plain, layer=layer)["features"] == 2, name
        plain.unlink()
        assert [one.name for one in tmp_path.iterdir()] == ["source"]


def test_an_ordinary_name_is_that_of_the_layer(class_map: Path, tmp_path: Path) -> None:
    for name in ("west_map", "Map 2", "a.b-c", "Wälder"):
        path = vectorise(class_map, tmp_path / f"{name}.gpkg")
        assert pyogrio.list_layers(path)[0][0] == name


def test_a_scene_is_mapped_under_any_name(make_scene: MakeScene, tmp_path: Path) -> None:
    random_scene(make_scene, tmp_path / "s.tif", (20, 20), 1, holes=False)
    bundle = bundle_with(Steps(3), THREE)
    for name in ("(1) map", "a\"b'c", "50%25", "a:b;c!d", ".hidden", "a\nb", "x" * 230):
        folder = tmp_path / "out"
        given = {
            "map": "", "confidence": "_c", "vector": "", "quicklook": "", "stac": "",
        }  # fmt: skip
        ends = {"map": ".tif", "confidence": ".tif", "vector": ".gpkg", "quicklook": ".png",
                "stac": ".json"}  # fmt: skip
        files: dict[str, Any] = {
            key: folder / f"{name}{more}{ends[key]}" for key, more in given.items()
        }
        predict(tmp_path / "s.tif", bundle, output=Products(**files), execution="cpu")
        item = json.loads(files["stac"].read_text())
        for asset in item["assets"].values():
            assert asset["href"].isascii()
            assert not set(asset["href"]) & set(' "<>\\^`{|}\n')
            assert (folder / unquote(asset["href"])).is_file()
        for one in folder.iterdir():
            assert not one.name.endswith(".partial"), one
            one.unlink()


@pytest.mark.parametrize("length", [244, 248, 256, 300])
def test_a_name_too_long_is_refused_before_any_work(
    make_scene: MakeScene, tmp_path: Path, length: int
) -> None:
    """Also where only a sidecar's name would be too long."""
    random_scene(make_scene, tmp_path / "s.tif", (20, 20), 1, holes=False)
    path = tmp_path / "out" / f"{'x' * length}.tif"
    untouched = Steps(3)
    untouched.forward = None  # type: ignore[assignment,method-assign]
    with pytest.raises(OutputError, match=r"cannot write .*File name too long.*choose"):
        predict(tmp_path / "s.tif", bundle_with(untouched, THREE), output=path, execution="cpu")
    assert not any((tmp_path / "out").glob("*"))


def test_a_folder_that_gdal_cannot_open_is_refused_before_any_work(
    class_map: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=r"folder whose name has '!'"):
        vectorise(class_map, tmp_path / "a!b" / "m.gpkg")


@pytest.mark.parametrize("crs", [None, 'LOCAL_CS["mine",UNIT["metre",1]]'])
def test_geojson_of_a_map_without_a_place_is_refused_before_any_work(
    make_scene: MakeScene, tmp_path: Path, crs: str | None
) -> None:
    pixels = np.random.default_rng(0).random((2, 20, 20), dtype=np.float32)
    make_scene(tmp_path / "s.tif", pixels, descriptions=("red", "nir"), crs=crs)
    bundle = bundle_with(Steps(3), THREE)
    products = Products(tmp_path / "m.tif", vector=tmp_path / "m.geojson")
    with pytest.raises(OutputError, match=r"m\.geojson: GeoJSON is in degrees"):
        predict(tmp_path / "s.tif", bundle, output=products, execution="cpu")
    assert not (tmp_path / "m.tif").exists()
    predict(tmp_path / "s.tif", bundle, output=tmp_path / "m.tif", execution="cpu")
    with pytest.raises(OutputError, match=r"m\.geojson: GeoJSON is in degrees"):
        vectorise(tmp_path / "m.tif", tmp_path / "m.geojson")
    vectorise(tmp_path / "m.tif", tmp_path / "m.gpkg")


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_points_are_written_under_any_name(class_map: Path, tmp_path: Path, suffix: str) -> None:
    drawn = draw(open_class_map(class_map), (2, 3), seed=0)
    for name in NAMES:
        path = tmp_path / f"{name}{suffix}"
        write_points(path, open_class_map(class_map).grid, drawn)
        plain = path.rename(tmp_path / f"read{suffix}")
        assert pyogrio.read_info(plain)["features"] == 5
        plain.unlink()
