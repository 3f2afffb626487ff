"""Inputs are never outputs: whatever an output is called, nothing that is read is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
import torch

import rsmeta
from rsmeta.errors import OutputError
from rsmeta.geo.inputs import check_not_an_input
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.bundle import ModelBundle
    from tests.conftest import MakeScene


class Bands(torch.nn.Module):
    """Its two bands as scores."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return image


@pytest.fixture
def bundle() -> ModelBundle:
    return bundle_of(Bands(), classes=2, tile_px=16)


@pytest.fixture
def folder(tmp_path: Path, make_scene: MakeScene) -> Path:
    """A scene with files beside it, a VRT of a VRT of it, links, polygons, a grid and a list."""
    random_scene(make_scene, tmp_path / "s.tif", (40, 60), 3, holes=False)
    with rasterio.open(tmp_path / "s.tif", "r+") as dataset:
        dataset.build_overviews([2])
    for name in ("s.tif.aux.xml", "s.tif.msk", "s.tfw", "s.qml"):
        (tmp_path / name).write_text("<PAMDataset/>" if name.endswith("xml") else "1")
    (tmp_path / "s.tif.msk").unlink()
    shutil.copy(tmp_path / "s.tif", tmp_path / "grid.tif")
    with rasterio.open(tmp_path / "s.tif") as dataset:
        bounds, crs = dataset.bounds, dataset.crs
        rasterio.shutil.copy(dataset, tmp_path / "inner.vrt", driver="VRT")
    inner = (tmp_path / "inner.vrt").read_text()
    (tmp_path / "outer.vrt").write_text(inner.replace(">s.tif<", ">inner.vrt<"))
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(*bounds)], crs=crs)
    frame.to_file(tmp_path / "aoi.gpkg")
    frame.to_file(tmp_path / "aoi.shp")
    (tmp_path / "list.txt").write_text("s.tif\n")
    (tmp_path / "sym.tif").symlink_to("s.tif")
    os.link(tmp_path / "s.tif", tmp_path / "hard.tif")
    return tmp_path


def state(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def refused(folder: Path, bundle: ModelBundle, scene: str, *, says: str, **given: Any) -> None:
    """Predict with output names in the folder, whatever exists; everything must stay."""
    before = state(folder)
    options = {key: given.pop(key) for key in ("aoi", "postprocess") if key in given}
    products = rsmeta.Products(**{"map": folder / "m.tif", **given})
    for if_exists in ("overwrite", "resume", "error"):
        with pytest.raises(OutputError, match=says):
            rsmeta.predict(
                scene, bundle, output=products, if_exists=if_exists, execution="cpu", **options
            )
    assert state(folder) == before


@pytest.mark.parametrize(
    ("scene", "product", "output"),
    [
        *(("s.tif", name, "s.tif") for name in ("map", "probabilities", "confidence", "entropy")),
        *((scene, "map", "s.tif") for scene in ("inner.vrt", "outer.vrt", "hard.tif", "@list.txt")),
        ("s.tif", "entropy", "sym.tif"),
        ("s.tif", "map", "hard.tif"),
        ("sym.tif", "map", "hard.tif"),
        ("outer.vrt", "map", "sym.tif"),
    ],
)
def test_a_scene_by_any_name_is_no_output(
    folder: Path, bundle: ModelBundle, scene: str, product: str, output: str
) -> None:
    scene = f"@{folder / 'list.txt'}" if scene.startswith("@") else str(folder / scene)
    refused(folder, bundle, scene, says="input", **{product: folder / output})


@pytest.mark.parametrize(
    ("scene", "given"),
    [
        ("s.tif", {"summary": "s.tif"}),
        ("s.tif", {"summary": "s.tif.aux.xml"}),
        ("s.tif", {"summary": "s.tfw"}),
        ("s.tif", {"summary": "./sub/../s.qml"}),
        ("outer.vrt", {"summary": "inner.vrt"}),
        ("s.tif", {"map": "s.tiff"}),  # its style would be s.qml
        ("@list.txt", {"summary": "list.txt"}),
        ("s.tif", {"aoi": "aoi.gpkg", "vector": "aoi.gpkg"}),
        ("s.tif", {"aoi": "aoi.shp", "summary": "aoi.dbf"}),
        ("s.tif", {"aoi": "aoi.gpkg|layername=aoi", "summary": "aoi.gpkg"}),
        ("s.tif", {"like": "grid.tif", "map": "grid.tif"}),
        ("s.tif", {"like": "grid.tif", "confidence": "grid.tif"}),
    ],
)
def test_neither_is_anything_else_that_is_read(
    folder: Path, bundle: ModelBundle, scene: str, given: dict[str, str]
) -> None:
    (folder / "sub").mkdir()
    scene = f"@{folder / scene[1:]}" if scene.startswith("@") else str(folder / scene)
    named: dict[str, Any] = {key: folder / value for key, value in given.items() if key != "like"}
    if "like" in given:
        named["postprocess"] = rsmeta.Postprocess(like=folder / given["like"])
    if "aoi" in given:
        named["aoi"] = str(folder / given["aoi"])
    refused(folder, bundle, scene, says="input", **named)


@pytest.mark.parametrize("output", ["item.json", "red.tif", "nir.tif"])
def test_a_stac_item_and_its_assets(
    tmp_path: Path, make_scene: MakeScene, bundle: ModelBundle, output: str
) -> None:
    assets = {}
    for name in ("red", "nir"):
        band = np.random.default_rng(1).uniform(0.1, 0.9, (1, 40, 40)).astype(np.float32)
        make_scene(tmp_path / f"{name}.tif", band)
        bands = [{"name": name, "common_name": name}]
        assets[name] = {"href": f"./{name}.tif", "eo:bands": bands, "roles": ["data"]}
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "one", "links": [], "assets": assets,
        "geometry": None, "properties": {"datetime": "2026-01-01T00:00:00Z"},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    product = "summary" if output.endswith("json") else "map"
    refused(
        tmp_path, bundle, str(tmp_path / "item.json"), says="input", **{product: tmp_path / output}
    )


def test_polygons_of_a_map_do_not_replace_it(folder: Path, bundle: ModelBundle) -> None:
    rsmeta.predict(folder / "s.tif", bundle, output=folder / "map.tif", execution="cpu")
    os.link(folder / "map.tif", folder / "map.fgb")
    before = state(folder)
    with pytest.raises(OutputError, match="input"):
        rsmeta.vectorise(folder / "map.tif", folder / "map.fgb", overwrite=True)
    assert state(folder) == before


def test_a_summary_replaces_nothing_unless_told_to(folder: Path, bundle: ModelBundle) -> None:
    (folder / "notes.json").write_text("mine")
    products = rsmeta.Products(folder / "m.tif", summary=folder / "notes.json")
    with pytest.raises(OutputError, match=r"notes\.json exists already"):
        rsmeta.predict(folder / "s.tif", bundle, output=products)
    assert (folder / "notes.json").read_text() == "mine"
    assert not (folder / "m.tif").exists()
    rsmeta.predict(folder / "s.tif", bundle, output=products, if_exists="overwrite")
    assert json.loads((folder / "notes.json").read_text())["scenes"]
    twice = rsmeta.Products(folder / "n.tif", summary=folder / "n.tif")
    with pytest.raises(OutputError, match="written twice"):
        rsmeta.predict(folder / "s.tif", bundle, output=twice)


def test_images_and_the_table_of_their_labels(tmp_path: Path, make_scene: MakeScene) -> None:
    class Judge(torch.nn.Module):
        def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3))

    random_scene(make_scene, tmp_path / "a.tif", (16, 16), 1, holes=False)
    (tmp_path / "list.csv").symlink_to("list.txt")
    (tmp_path / "list.txt").write_text("a.tif\n")
    bundle = bundle_of(Judge(), classes=2, per="image", tile_px=16)
    with pytest.raises(OutputError, match="input"):
        rsmeta.predict_images(
            f"@{tmp_path / 'list.txt'}", bundle, output=tmp_path / "list.csv", overwrite=True
        )
    assert (tmp_path / "list.txt").read_text() == "a.tif\n"


def test_folders_stand_for_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    weights = tmp_path / "bundle/weights.safetensors"
    weights.write_bytes(b"1")
    for output in (weights, tmp_path / "bundle", tmp_path):
        with pytest.raises(OutputError, match="bundle"):
            check_not_an_input([output], [tmp_path / "bundle"])
    check_not_an_input([tmp_path / "bundle/new.tif", tmp_path / "map.tif"], [tmp_path / "bundle"])


def test_objects_of_a_store_and_files_in_archives(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"s3://bucket/s\.tif is an input"):
        check_not_an_input(["s3://bucket/s.tif"], ["/vsis3/bucket/s.tif"])
    check_not_an_input(["s3://bucket/m.tif"], ["/vsis3/bucket/s.tif"])
    (tmp_path / "scenes.zip").write_bytes(b"1")
    with pytest.raises(OutputError, match=r"scenes\.zip"):
        check_not_an_input([tmp_path / "scenes.zip"], [f"/vsizip/{tmp_path}/scenes.zip/s.tif"])


def test_names_that_only_look_alike_are_free(folder: Path, bundle: ModelBundle) -> None:
    """Files that happen to share the scene's name, and outputs of an earlier run."""
    for name in ("s_map.tif", "s.tif.tif"):
        for if_exists in ("error", "overwrite"):
            rsmeta.predict(
                folder / "s.tif", bundle, output=folder / name, if_exists=if_exists, execution="cpu"
            )
    assert np.isfinite(rasterio.open(folder / "s_map.tif").read()).all()
