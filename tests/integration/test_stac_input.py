"""STAC items as scenes: bands picked from assets, coarser ones repeated, numbers understood."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from rsmeta.errors import BandsMissingError, GridMismatchError, SceneError
from rsmeta.geo.bands import generic_band
from rsmeta.geo.scene import open_scene
from tests.integration.conftest import CONFIG
from tests.integration.web_server import web_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, TinyRun

ID = "S2A_33TWM_20260701_0_L2A"
#: key -> (name, common name, centre in µm, pixel in m)
BANDS = {
    "green": ("green", "green", 0.56, 10), "red": ("red", "red", 0.665, 10),
    "nir": ("nir", "nir", 0.842, 10), "rededge1": ("rededge1", "rededge", 0.704, 20),
    "swir16": ("swir16", "swir16", 1.61, 20),
}  # fmt: skip


def place(pixel_m: float) -> Affine:
    return Affine(pixel_m, 0.0, 500_000.0, 0.0, -pixel_m, 5_150_000.0)


@pytest.fixture
def folder(tmp_path: Path, make_scene: MakeScene) -> Path:
    """An item as catalogs of Sentinel-2 have it, its assets beside it."""
    rng = np.random.default_rng(0)
    assets: dict[str, Any] = {}
    for key, (name, common, centre, pixel_m) in BANDS.items():
        side = 960 // pixel_m
        image = rng.integers(1, 4000, (side, side)).astype(np.uint16)
        image[:2] = 0
        make_scene(tmp_path / f"{key}.tif", image, transform=place(pixel_m))
        assets[key] = {
            "href": f"./{key}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data", "reflectance"],
            "eo:bands": [{"name": name, "common_name": common, "center_wavelength": centre}],
            "raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}],
        }
    assets["visual"] = {**assets["red"], "href": "./gone.tif", "roles": ["visual"]}
    assets["red-jp2"] = {**assets["red"], "href": "./gone.jp2", "type": "image/jp2"}
    assets["scl"] = {"href": "./gone.tif", "type": "image/tiff", "roles": ["data"]}
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": ID, "assets": assets, "geometry": None,
        "properties": {"datetime": "2026-07-01T10:00:31Z", "platform": "sentinel-2a"}, "links": [],
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item), encoding="utf-8")
    return tmp_path


def changed(folder: Path, name: str = "item.json", **properties: Any) -> dict[str, Any]:
    item: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    item["properties"] |= properties
    return item


def written(folder: Path, tree: Any, name: str = "other.json") -> Path:
    (folder / name).write_text(json.dumps(tree), encoding="utf-8")
    return folder / name


def raw(folder: Path, key: str) -> np.ndarray:
    with rasterio.open(folder / f"{key}.tif") as dataset:
        return dataset.read(1)


def test_bands_numbers_and_time_of_an_item(folder: Path) -> None:
    scene = open_scene(folder / "item.json")
    assert [band.name for band in scene.bands] == ["B03", "B04", "B08", "B05", "B11"]
    assert scene.sensor == "sentinel2_l2a"
    assert scene.name == ID
    assert scene.acquired is not None
    assert scene.acquired.isoformat() == "2026-07-01T10:00:31+00:00"
    assert scene.grid.shape == (96, 96)
    chip = scene.read(scene.grid.full_window)
    assert not chip.valid[:4].any(), "pixels of 20 m cover two of 10 m"
    assert chip.valid[4:].all()
    red = raw(folder, "red") * 0.0001 - 0.1
    np.testing.assert_allclose(chip.data[1, 4:], red[4:], atol=1e-6)
    swir = (raw(folder, "swir16") * 0.0001 - 0.1).repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(chip.data[4, 4:], swir[4:], atol=1e-6)


def test_only_assets_that_are_needed_set_the_grid(folder: Path) -> None:
    (folder / "green.tif").unlink()
    wanted = [generic_band("swir16")]
    scene = open_scene(folder / "item.json", wanted=wanted).select(wanted)
    assert scene.grid.shape == (48, 48)
    with pytest.raises(BandsMissingError, match="lacks the band blue"):
        open_scene(folder / "item.json", wanted=[generic_band("blue")])


def test_stac_1_1_has_the_same_bands(folder: Path) -> None:
    item = changed(folder)
    for asset in item["assets"].values():
        for eo, numbers in zip(
            asset.pop("eo:bands", []), asset.pop("raster:bands", []), strict=True
        ):
            told = {f"eo:{k}": v for k, v in eo.items() if k != "name"}
            told |= {"raster:scale": numbers["scale"], "raster:offset": numbers["offset"]}
            asset |= {"bands": [{"name": eo["name"], **told}], "nodata": 0}
    newer, older = open_scene(written(folder, item)), open_scene(folder / "item.json")
    assert (newer.bands, newer.scale, newer.offset, newer.nodata) == (
        older.bands, older.scale, older.offset, older.nodata,
    )  # fmt: skip


def test_an_offset_that_was_applied_is_not_applied_again(folder: Path) -> None:
    item = changed(folder, **{"earthsearch:boa_offset_applied": True})
    assert set(open_scene(written(folder, item)).offset) == {0.0}


def test_grids_that_differ_are_refused(folder: Path, make_scene: MakeScene) -> None:
    image = np.ones((96, 96), np.uint16)
    make_scene(folder / "red.tif", image, transform=place(10) * Affine.translation(40, 0))
    with pytest.raises(GridMismatchError, match=f"the asset .* of {ID} lies on another grid"):
        open_scene(folder / "item.json")


def test_an_item_without_bands_gives_its_only_raster(folder: Path, make_scene: MakeScene) -> None:
    image = np.ones((2, 8, 8), np.uint16)
    make_scene(folder / "both.tif", image, descriptions=("red", "nir"))
    item = changed(folder)
    item["assets"] = {"data": {"href": "both.tif", "type": "image/tiff", "roles": ["data"]}}
    assert [b.name for b in open_scene(written(folder, item)).bands] == ["red", "nir"]


def test_what_is_no_item_is_said(rsmeta: Rsmeta, folder: Path) -> None:
    bad = written(folder, {"type": "Feature", "id": "x"}, "bad.json")
    assert "lacks id or assets" in rsmeta("inspect", bad).complaint
    assert "is no STAC item" in rsmeta("inspect", written(folder, [1], "list.json")).complaint
    (folder / "cut.json").write_text("{", encoding="utf-8")
    assert "as JSON" in rsmeta("inspect", folder / "cut.json").complaint
    assert "no scene at" in rsmeta("inspect", folder / "gone.json").complaint
    found = {"type": "FeatureCollection", "features": [changed(folder), changed(folder)]}
    found["features"][1]["id"] = "second"
    search = written(folder, found, "search.json")
    assert f"holds 2 items ({ID}, second)" in rsmeta("inspect", search).complaint
    ended = rsmeta("inspect", f"{search}#second", "--json")
    assert json.loads(ended.out)["sensor"] == "sentinel2_l2a"


def test_maps_of_items(rsmeta: Rsmeta, tiny_run: TinyRun, folder: Path) -> None:
    found = {"type": "FeatureCollection", "features": [changed(folder), changed(folder)]}
    found["features"][1]["id"] = "second"
    search = written(folder, found, "search.json")
    summary = folder / "summary.json"
    words = ("predict", search, "--model", tiny_run.bundle, "--output", folder / "maps")
    ended = rsmeta(*words, "--summary", summary)
    assert ended.status == 0, ended.err
    maps = sorted(path.name for path in (folder / "maps").glob("*.tif"))
    assert maps == [f"{ID}_map.tif", "second_map.tif"]
    told = json.loads(summary.read_text(encoding="utf-8"))["scenes"]
    assert [scene["scene"] for scene in told] == [ID, "second"]
    again = rsmeta(*words, "--resume")
    assert again.out.count("was finished already") == 2, again.err


def test_items_on_the_web_and_in_catalogs(
    rsmeta: Rsmeta, tiny_run: TinyRun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    catalog = {"type": "Catalog", "links": [{"rel": "item", "href": "item.json"}]}
    written(folder, catalog, "catalog.json")
    words = ("--model", tiny_run.bundle, "--output")
    with web_of(folder) as web:
        ended = rsmeta("predict", web / "catalog.json", *words, folder / "web.tif")
        assert ended.status == 0, ended.err
        missing = rsmeta("inspect", web / "gone.json").complaint
        denied = rsmeta("inspect", web / "status/403/item.json").complaint
    assert "no scene at" in missing
    assert "403" in denied
    assert {path for _, path, _ in web.requests if path.endswith(".tif")} == {
        "/green.tif", "/red.tif", "/nir.tif",
    }  # fmt: skip
    assert rsmeta("predict", folder / "item.json", *words, folder / "local.tif").status == 0
    with rasterio.open(folder / "web.tif") as a, rasterio.open(folder / "local.tif") as b:
        np.testing.assert_array_equal(a.read(), b.read())


def test_an_asset_that_is_gone_is_said_by_its_name(folder: Path) -> None:
    (folder / "red.tif").unlink()
    with pytest.raises(SceneError, match=r"no scene at .*red\.tif"):
        open_scene(folder / "item.json")


def test_items_train(rsmeta: Rsmeta, folder: Path, make_scene: MakeScene) -> None:
    row, col = np.mgrid[:96, :96]
    labels = (1 + (row // 24 + col // 24) % 2).astype(np.uint8)
    make_scene(folder / f"{ID}_labels.tif", labels, transform=place(10))
    config = CONFIG.replace("[west.tif, east.tif]", "item.json").replace(
        "max_epochs: 2", "max_epochs: 1"
    )
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    words = ("train", folder / "config.yaml", f"data.root={folder}", "--output", folder / "run")
    ended = rsmeta(*words)
    assert ended.status == 0, ended.err
    told = json.loads(rsmeta("inspect", folder / "run", "--json").out)
    assert [band["name"] for band in told["bands"]] == ["B03", "B04", "B08", "B05", "B11"]
