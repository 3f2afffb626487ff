"""What comes with a map: types, tables, styles, items; through the public ``predict``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import torch
from rio_cogeo.cogeo import cog_validate
from torch import nn

from rsmeta.config.data import DataSettings
from rsmeta.errors import OutputError
from rsmeta.gis.outputs.products import Products
from rsmeta.workflows.mapping.predict_scenes import predict
from tests.stac_items import check_item
from tests.unit.mapping_bundles import bundle_of, random_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.bundle import ModelBundle
    from tests.conftest import MakeScene


class Steps(nn.Module):
    """Surest of the class whose number the first band holds, as a share of all classes."""

    def __init__(self, classes: int, sharpness: float = 1.0) -> None:
        super().__init__()
        self._classes = classes
        self._sharpness = sharpness

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        own = torch.arange(self._classes, device=image.device)[None, :, None, None]
        return -self._sharpness * (image[:, :1] * self._classes - 0.5 - own) ** 2


def bundle_with(network: nn.Module, classes: Sequence[Any] | dict[int, Any]) -> ModelBundle:
    specs = DataSettings.model_validate({"scenes": "s", "labels": "l", "classes": classes}).classes
    bundle = bundle_of(network, classes=len(specs))
    return dataclasses.replace(bundle, record=bundle.record.model_copy(update={"classes": specs}))


THREE = {
    3: {"name": "water & ice", "colour": "#0000ff"},
    7: {"name": "land <dry>", "colour": "#e69f00"},
    9: {"name": "Wälder", "colour": "#009e73"},
}


@pytest.fixture
def scene(make_scene: MakeScene, tmp_path: Path) -> Path:
    random_scene(make_scene, tmp_path / "s.tif", (60, 90), 1, holes=True)
    return tmp_path / "s.tif"


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        pixels: np.ndarray = raster.read()
    return pixels


def table_of(path: Path) -> list[list[str]]:
    tree = ElementTree.parse(path.with_name(path.name + ".aux.xml"))
    return [[cell.text or "" for cell in row] for row in tree.iter("Row")]


class SomeNaN(Steps):
    """Has no finite score where the first band exceeds 0.8."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        scores = super().forward(image, valid)
        return torch.where(image[:, :1] > 0.8, torch.nan, scores)


@pytest.mark.parametrize("shares", ["float32", "uint8"])
def test_scores_that_are_not_finite_are_nodata_counted_and_warned_about(
    scene: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, shares: Any
) -> None:
    products = Products(
        tmp_path / "m.tif", probabilities=tmp_path / "p.tif", confidence=tmp_path / "c.tif",
        entropy=tmp_path / "e.tif", vector=tmp_path / "m.gpkg", probabilities_type=shares,
    )  # fmt: skip
    (result,) = predict(scene, bundle_with(SomeNaN(3), THREE), output=products, execution="cpu")
    with rasterio.open(scene) as file:
        pixels, valid = file.read(1), file.dataset_mask() > 0
    lost = valid & (pixels > 0.8)
    assert lost.any()
    known = valid & ~lost
    assert ((read(tmp_path / "m.tif")[0] != 255) == known).all()
    for name in "pce":
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            assert ((file.read_masks(1) > 0) == known).all()
    assert sum(result.class_pixels.values()) == known.sum()
    (warning,) = (one for one in caplog.messages if "not finite" in one)
    assert f"{lost.sum()} pixels became nodata" in warning


def test_attribute_table_tells_values_names_colours_pixels_and_areas(
    scene: Path, tmp_path: Path
) -> None:
    place = tmp_path / "m.tif"
    (result,) = predict(scene, bundle_with(Steps(3), THREE), output=place, execution="cpu")
    mapped = read(place)
    rows = table_of(place)
    assert [row[:5] for row in rows] == [
        ["3", "water & ice", "0", "0", "255"], ["7", "land <dry>", "230", "159", "0"],
        ["9", "Wälder", "0", "158", "115"],
    ]  # fmt: skip
    for row in rows:
        count = int((mapped == int(row[0])).sum())
        assert count
        assert int(row[5]) == count
        assert float(row[6]) == pytest.approx(100.08 * count, rel=1e-4)
        assert result.class_pixels[row[1]] == count
    names = [name.text for name in ElementTree.parse(tmp_path / "m.tif.aux.xml").iter("Category")]
    assert {value: name for value, name in enumerate(names) if name} == {
        3: "water & ice", 7: "land <dry>", 9: "Wälder",
    }  # fmt: skip


def test_styles_name_and_colour_the_classes(scene: Path, tmp_path: Path) -> None:
    predict(scene, bundle_with(Steps(3), THREE), output=tmp_path / "m.tif", execution="cpu")
    qml = ElementTree.parse(tmp_path / "m.qml")
    assert [
        (entry.get("value"), entry.get("color"), entry.get("label"))
        for entry in qml.iter("paletteEntry")
    ] == [
        ("3", "#0000ff", "water & ice"), ("7", "#e69f00", "land <dry>"), ("9", "#009e73", "Wälder"),
    ]  # fmt: skip
    sld = ElementTree.parse(tmp_path / "m.sld")
    names = "{http://www.opengis.net/sld}"
    assert [
        (entry.get("quantity"), entry.get("color"), entry.get("label"))
        for entry in sld.iter(f"{names}ColorMapEntry")
    ] == [
        ("3", "#0000ff", "water & ice"), ("7", "#e69f00", "land <dry>"), ("9", "#009e73", "Wälder"),
    ]  # fmt: skip
    assert next(sld.iter(f"{names}ColorMap")).get("type") == "values"


def test_tags_tell_when_by_what_and_from_what_a_map_was_made(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    random_scene(make_scene, tmp_path / "s.tif", (20, 20), 1, holes=False)
    with rasterio.open(tmp_path / "s.tif", "r+") as file:
        file.update_tags(ACQUISITIONDATETIME="2020-05-06T07:08:09Z")
    predict(
        tmp_path / "s.tif", bundle_with(Steps(3), THREE), execution="cpu",
        output=Products(tmp_path / "m.tif", stac=tmp_path / "m.json"),
    )  # fmt: skip
    with rasterio.open(tmp_path / "m.tif") as raster:
        tags = raster.tags()
    item = json.loads((tmp_path / "m.json").read_text())["properties"]
    made = tags["TIFFTAG_DATETIME"]
    assert item["created"] == f"{made[:10].replace(':', '-')}T{made[11:]}Z"
    assert tags["ACQUISITIONDATETIME"] == "2020-05-06T07:08:09+00:00"
    assert item["datetime"] == "2020-05-06T07:08:09Z"
    assert tags["RSMETA_MODEL_SHA256"] in item["processing:lineage"]
    assert tags["RSMETA_SOURCE"] == "s.tif"


def test_more_than_255_values_are_uint16_with_colours_beside_it(
    make_scene: MakeScene, tmp_path: Path
) -> None:
    ramp = np.tile((np.arange(320, dtype=np.float32) + 0.5) / 320, (4, 1))
    ramp[0, :5] = -9999
    make_scene(
        tmp_path / "s.tif", np.stack([ramp, ramp]), descriptions=("red", "nir"), nodata=-9999
    )
    bundle = bundle_with(Steps(320), {i + 1: f"kind {i}" for i in range(320)})
    (result,) = predict(
        tmp_path / "s.tif", bundle, execution="cpu",
        output=Products(tmp_path / "m.tif", quicklook=tmp_path / "m.png"),
    )  # fmt: skip
    with rasterio.open(tmp_path / "m.tif") as raster:
        assert raster.dtypes == ("uint16",)
        assert raster.nodata == 65535
        assert (raster.read(1)[1:] == np.arange(1, 321)).all()
        assert (raster.read(1)[0, :5] == 65535).all()
        with pytest.raises(ValueError, match="NULL color table"):
            raster.colormap(1)  # GDAL cannot make a PNG of a map with so large a palette
    last = bundle.record.classes[-1]
    assert table_of(tmp_path / "m.tif")[-1][:5] == ["320", "kind 319", *map(str, last.rgb)]
    assert f'value="320" color="{last.colour}"' in (tmp_path / "m.qml").read_text()
    assert len({spec.colour for spec in bundle.record.classes}) == 320
    assert result.class_pixels["kind 319"] == 4
    assert cog_validate(tmp_path / "m.tif", strict=True)[0]


def test_shares_in_uint8_are_within_half_a_step_and_named(scene: Path, tmp_path: Path) -> None:
    bundle = bundle_with(Steps(3, 0.4), THREE)
    for kind in ("float32", "uint8"):
        folder = tmp_path / kind
        wanted = Products(
            folder, probabilities=folder, confidence=folder, entropy=folder,
            probabilities_type=kind,  # type: ignore[arg-type]
        )  # fmt: skip
        predict(scene, bundle, output=wanted, execution="cpu")
    for name, bands in (
        ("probabilities", ("water & ice", "land <dry>", "Wälder")),
        ("confidence", ("confidence",)), ("entropy", ("entropy",)),
    ):  # fmt: skip
        exact = read(tmp_path / "float32" / f"s_{name}.tif")
        with rasterio.open(tmp_path / "uint8" / f"s_{name}.tif") as raster:
            assert raster.dtypes == ("uint8",) * len(bands)
            assert raster.descriptions == bands
            assert raster.nodata == 255
            assert raster.scales == (0.004,) * len(bands)
            steps = raster.read()
        assert ((steps == 255) == np.isnan(exact)).all()
        assert np.nanmax(np.abs(np.where(steps < 255, steps * 0.004, np.nan) - exact)) <= 0.0020001
        assert cog_validate(tmp_path / "uint8" / f"s_{name}.tif", strict=True)[0]
    shares, (sure,), (unsure,) = (
        read(tmp_path / "float32" / f"s_{name}.tif")
        for name in ("probabilities", "confidence", "entropy")
    )
    assert np.array_equal(sure, shares.max(axis=0), equal_nan=True)
    expected = -(shares * np.log(shares)).sum(axis=0) / np.log(3)
    assert np.allclose(unsure, expected, atol=1e-5, equal_nan=True)


def test_styles_of_shares_fit_what_each_program_reads(scene: Path, tmp_path: Path) -> None:
    """QGIS scales numbers as the file says; servers do not."""
    wanted = Products(tmp_path / "m.tif", confidence=tmp_path / "c.tif", probabilities_type="uint8")
    predict(scene, bundle_with(Steps(3), THREE), output=wanted, execution="cpu")
    items = list(ElementTree.parse(tmp_path / "c.qml").iter("item"))
    assert [float(items[i].get("value", "")) for i in (0, -1)] == [0, 1]
    entries = list(
        ElementTree.parse(tmp_path / "c.sld").iter("{http://www.opengis.net/sld}ColorMapEntry")
    )
    assert [float(entries[i].get("quantity", "")) for i in (0, -1)] == [0, 250]
    assert [item.get("color") for item in items] == [entry.get("color") for entry in entries]


@pytest.mark.parametrize(("sharpness", "told"), [(1e3, 0.0), (0.0, 1.0)])
def test_entropy_goes_from_sure_to_undecided(
    make_scene: MakeScene, tmp_path: Path, sharpness: float, told: float
) -> None:
    make_scene(tmp_path / "s.tif", np.full((2, 9, 9), 0.5, np.float32), descriptions=("red", "nir"))
    wanted = Products(tmp_path / "m.tif", entropy=tmp_path / "e.tif")
    predict(
        tmp_path / "s.tif", bundle_with(Steps(3, sharpness), THREE), output=wanted, execution="cpu"
    )
    assert np.allclose(read(tmp_path / "e.tif"), told, atol=1e-6)


def test_item_fits_the_schemas_and_moves_with_its_files(
    scene: Path, tmp_path: Path, stac_schemas: Path
) -> None:
    folder = tmp_path / "out"
    wanted = Products(
        folder / "maps" / "m.tif", probabilities=folder / "p.tif", stac=folder / "item.json",
        quicklook=folder / "m.png",
    )  # fmt: skip
    predict(scene, bundle_with(Steps(3), THREE), output=wanted, execution="cpu")
    item = check_item(folder / "item.json", stac_schemas)
    assert item["assets"].keys() == {"map", "probabilities", "thumbnail"}
    assert item["assets"]["map"]["href"] == "./maps/m.tif"
    assert [link["href"] for link in item["links"]] == ["../s.tif"]
    assert item["properties"]["proj:code"] == "EPSG:32633"
    assert item["properties"]["proj:shape"] == [60, 90]
    named = item["assets"]["map"]["classification:classes"]
    assert [(entry["value"], entry["description"]) for entry in named] == [
        (3, "water & ice"), (7, "land <dry>"), (9, "Wälder"),
    ]  # fmt: skip
    folder.rename(tmp_path / "moved")
    assert check_item(tmp_path / "moved" / "item.json", stac_schemas) == item


@pytest.mark.parametrize(
    ("crs", "origin", "kind"),
    [
        (None, (0.0, 0.0), None), ("EPSG:32601", (300_000.0, 7_000_000.0), "MultiPolygon"),
        ("EPSG:4326", (10.0, 50.0), "Polygon"),
    ],
)  # fmt: skip
def test_item_of_maps_without_crs_over_the_antimeridian_and_in_degrees(
    make_scene: MakeScene, tmp_path: Path, stac_schemas: Path, crs: str | None,
    origin: tuple[float, float], kind: str | None,
) -> None:  # fmt: skip
    side = 0.01 if crs == "EPSG:4326" else 2000.0
    place = rasterio.Affine(side, 0, origin[0], 0, -side, origin[1])
    data = np.full((2, 20, 30), 0.5, np.float32)
    make_scene(tmp_path / "s.tif", data, descriptions=("red", "nir"), crs=crs, transform=place)
    wanted = Products(tmp_path / "m.tif", stac=tmp_path / "m.json", quicklook=tmp_path / "m.png")
    predict(tmp_path / "s.tif", bundle_with(Steps(3), THREE), output=wanted, execution="cpu")
    item = check_item(tmp_path / "m.json", stac_schemas)
    if kind is None:
        assert item["geometry"] is None
        assert "bbox" not in item
    else:
        assert item["geometry"]["type"] == kind
        assert len(item["geometry"]["coordinates"]) == (2 if kind == "MultiPolygon" else 1)
        assert (item["bbox"][0] > item["bbox"][2]) == (kind == "MultiPolygon")


# -- complete or not at all ------------------------------------------------------------------


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_style_of_ones_own_is_kept_without_overwrite(scene: Path, tmp_path: Path) -> None:
    bundle = bundle_with(Steps(3), THREE)
    (tmp_path / "m.qml").write_text("mine")
    with pytest.raises(OutputError, match=r"m\.qml exists already; .*--overwrite"):
        predict(scene, bundle, output=tmp_path / "m.tif", execution="cpu")
    assert names_in(tmp_path) == ["m.qml", "s.tif"]
    assert (tmp_path / "m.qml").read_text() == "mine"
    predict(scene, bundle, output=tmp_path / "m.tif", execution="cpu", if_exists="overwrite")
    assert "water" in (tmp_path / "m.qml").read_text()


def test_what_cannot_be_finished_leaves_no_name_and_can_be_resumed(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    bundle = bundle_with(Steps(3), THREE)
    wanted = Products(
        tmp_path / "m.tif", confidence=tmp_path / "c.tif", stac=tmp_path / "m.json",
        quicklook=tmp_path / "m.png",
    )  # fmt: skip
    from rsmeta.workflows.mapping import sidecars

    with monkeypatch.context() as patch:
        patch.setattr(sidecars, "item_text", full)
        with pytest.raises(OutputError, match=r"cannot write .*m\.json: .*No space left"):
            predict(scene, bundle, output=wanted, execution="cpu")
    assert names_in(tmp_path) == [".c.tif.partial", ".m.tif.partial", "s.tif"]
    (result,) = predict(scene, bundle, output=wanted, execution="cpu", if_exists="resume")
    assert names_in(tmp_path) == [
        "c.qml", "c.sld", "c.tif", "m.json", "m.png", "m.qml", "m.sld", "m.tif", "m.tif.aux.xml",
        "s.tif",
    ]  # fmt: skip
    counted = [int(row[5]) for row in table_of(tmp_path / "m.tif")]
    assert counted == list(result.class_pixels.values())
    assert sum(counted) == (read(tmp_path / "m.tif") != 255).sum()
    (kept,) = predict(scene, bundle, output=wanted, execution="cpu", if_exists="resume")
    assert kept.status == "kept"


def test_a_kill_while_names_are_given_leaves_the_map_for_last(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsmeta.geo import writer

    rename = writer.os.replace

    def stopped(source: Path, target: Path) -> None:
        if target.name == "m.tif":
            raise OSError(5, "Input/output error")
        rename(source, target)

    bundle = bundle_with(Steps(3), THREE)

    with monkeypatch.context() as patch:
        patch.setattr(writer.os, "replace", stopped)
        with pytest.raises(OutputError, match="Input/output error"):
            predict(scene, bundle, output=tmp_path / "m.tif", execution="cpu")
    assert not (tmp_path / "m.tif").exists()
    predict(scene, bundle, output=tmp_path / "m.tif", execution="cpu", if_exists="resume")
    assert names_in(tmp_path) == ["m.qml", "m.sld", "m.tif", "m.tif.aux.xml", "s.tif"]


def test_a_name_for_two_things_is_refused(scene: Path, tmp_path: Path) -> None:
    wanted = Products(tmp_path / "m.tif", confidence=tmp_path / "m.tiff")  # both have an m.qml
    with pytest.raises(OutputError, match="would be written twice"):
        predict(scene, bundle_with(Steps(3), THREE), output=wanted, execution="cpu")
