"""Products of Sentinel-2 as ESA delivers them are read band by band, on the finest grid."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from rsmeta.errors import BandsMissingError, SceneError
from rsmeta.geo.bands import generic_band
from rsmeta.geo.scene import expand_sources, open_scene
from rsmeta.geo.sources import scene_stem

if TYPE_CHECKING:
    from pathlib import Path

NAME = "S2B_MSI{level}_20220215T100029_N0400_R122_T33TWM_20220215T120000"
METADATA = """<n1:Level-2A_User_Product xmlns:n1="https://psd.esa.int/x"><General_Info>
<PRODUCT_START_TIME>2022-02-15T10:00:29.024Z</PRODUCT_START_TIME>
<PROCESSING_BASELINE>04.00</PROCESSING_BASELINE><SPACECRAFT_NAME>Sentinel-2B</SPACECRAFT_NAME>
<QUANTIFICATION_VALUES_LIST>{scaling}</QUANTIFICATION_VALUES_LIST>
</General_Info></n1:Level-2A_User_Product>"""
SCALING = {
    "L2A": '<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
    + "".join(f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13)),
    "L1C": '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    + "".join(f'<RADIO_ADD_OFFSET band_id="{i}">-1000</RADIO_ADD_OFFSET>' for i in range(13)),
}
WANTED = [generic_band(name) for name in ("red", "nir", "rededge071")]


def _image(path: Path, value: int, size_m: int, driver: str) -> None:
    px = 240 // size_m
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"QUALITY": "100", "REVERSIBLE": "YES"} if "JP2" in driver else {}
    with rasterio.open(
        path, "w", driver=driver, width=px, height=px, count=1, dtype="uint16",
        crs="EPSG:32633", transform=Affine(size_m, 0, 500_000, 0, -size_m, 5_150_000), **options,
    ) as file:  # fmt: skip
        file.write(np.full((1, px, px), value, np.uint16))


def _product(folder: Path, level: str, driver: str = "GTiff") -> Path:
    safe = folder / f"{NAME.format(level=level)}.SAFE"
    images = safe / "GRANULE" / f"{level}_T33TWM_A025843_20220215T100029" / "IMG_DATA"
    start = "T33TWM_20220215T100029"
    if level == "L1C":
        for band, size_m, value in (("B04", 10, 2000), ("B08", 10, 3000), ("B05", 20, 4000)):
            _image(images / f"{start}_{band}.jp2", value, size_m, driver)
        _image(images / f"{start}_TCI.jp2", 9, 10, driver)
    else:
        for size_m in (10, 20, 60):
            place = images / f"R{size_m}m"
            for name, value in (("AOT", 90), ("WVP", 900), ("B04", 2000 + (size_m > 10))):
                _image(place / f"{start}_{name}_{size_m}m.jp2", value, size_m, driver)
        _image(images / "R10m" / f"{start}_B08_10m.jp2", 3000, 10, driver)
        _image(images / "R20m" / f"{start}_B05_20m.jp2", 4000, 20, driver)
        _image(images / "R20m" / f"{start}_SCL_20m.jp2", 4, 20, driver)
    text = METADATA.format(scaling=SCALING[level])
    (safe / f"MTD_MSI{level}.xml").write_text(text, encoding="utf-8")
    return safe


@pytest.mark.parametrize("form", ["folder", "metadata", "zip"])
@pytest.mark.parametrize(
    ("level", "driver"), [("L1C", "GTiff"), ("L2A", "GTiff"), ("L2A", "JP2OpenJPEG")]
)
def test_a_product_is_a_scene(tmp_path: Path, form: str, level: str, driver: str) -> None:
    safe = _product(tmp_path, level, driver)
    source = {
        "folder": safe, "metadata": safe / f"MTD_MSI{level}.xml", "zip": safe.with_suffix(".zip"),
    }[form]  # fmt: skip
    if form == "zip":
        shutil.make_archive(str(safe.with_suffix("")), "zip", tmp_path, safe.name)
    scene = open_scene(source, wanted=WANTED).select(WANTED)
    assert scene.sensor == f"sentinel2_{level.lower()}"
    assert scene.acquired is not None
    assert (scene.grid.height_px, scene.grid.pixel_size) == (24, (10, 10))
    chip = scene.read(scene.grid.full_window)
    assert chip.valid.all()
    np.testing.assert_allclose(chip.data[:, 3, 3], [0.1, 0.2, 0.3], rtol=1e-5)
    assert scene_stem(source) == safe.stem
    assert [str(one) for one in expand_sources([source])] == [str(source)]


def test_a_folder_of_products_holds_scenes(tmp_path: Path) -> None:
    safes = [_product(tmp_path, level) for level in ("L1C", "L2A")]
    assert expand_sources([tmp_path]) == safes
    assert expand_sources([tmp_path / "*.SAFE"]) == safes


def test_a_band_that_a_product_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(BandsMissingError, match="swir16"):
        open_scene(_product(tmp_path, "L2A"), wanted=[generic_band("swir16")])
    empty = tmp_path / "x.SAFE"
    empty.mkdir()
    with pytest.raises(SceneError, match="whole product"):
        open_scene(empty)
