"""PRISMA's L2D products: place, spectrum, scale and validity of a small file in their layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from rasterio.windows import Window

from rsmeta.errors import SceneUnreadableError
from rsmeta.geo.scene import ReadRules, open_scene

if TYPE_CHECKING:
    from pathlib import Path

NAME = "PRS_L2D_STD_20200420104916_20200420104920_0001.he5"
ROWS, COLS = 5, 7
FIELDS = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"
#: As in the products: from long waves to short, with bands that were never filled.
CENTRES = {"Vnir": [972.6, 860.2, 559.0, 0.0], "Swir": [0.0, 2497.1, 1401.5, 943.4, 920.0]}
FLAGS = {"Vnir": [1, 1, 1, 0], "Swir": [0, 1, 1, 1, 0]}
LIMITS = {"Vnir": (0.0, 0.8), "Swir": (0.01, 1.2)}


def product(folder: Path, level: str = "L2D", without: str = "") -> Path:
    """Write a product of rows of bands of columns; its first column lies outside the swath."""
    path, rng = folder / NAME, np.random.default_rng(0)
    facts: dict[str, Any] = {
        "Processing_Level": np.bytes_("2D"),
        "Product_StartTime": np.bytes_("2020-04-20T10:49:16.123456"),
        "Epsg_Code": np.int64(32632),
        "Product_ULcorner_easting": 500_015.0, "Product_ULcorner_northing": 5_000_985.0,
        "Product_LRcorner_easting": 500_015.0 + 30 * (COLS - 1),
        "Product_LRcorner_northing": 5_000_985.0 - 30 * (ROWS - 1),
    }  # fmt: skip
    for name, centres in CENTRES.items():
        facts[f"List_Cw_{name}"] = np.array(centres, np.float32)
        facts[f"List_Fwhm_{name}"] = np.full(len(centres), 11.5, np.float32)
        facts[f"List_Cw_{name}_Flags"] = np.array(FLAGS[name], np.int32)
        facts[f"L2Scale{name}Min"], facts[f"L2Scale{name}Max"] = map(np.float32, LIMITS[name])
    with h5py.File(path, "w") as file:
        file.attrs.update({key: value for key, value in facts.items() if key != without})
        for name, centres in CENTRES.items():
            cube = rng.integers(1, 65536, (ROWS, len(centres), COLS), dtype=np.uint16)
            cube[..., 0] = 0
            cube[2, 1, 3] = 0  # an absorbed band of a pixel on the ground
            fields = FIELDS.replace("L2D", level)
            file[f"{fields}/{name.upper()}_Cube"] = cube
            file[f"{fields}/{name.upper()}_PIXEL_L2_ERR_MATRIX"] = np.zeros_like(cube, np.uint8)
    return path


def test_a_product_is_a_scene(tmp_path: Path) -> None:
    path = product(tmp_path)
    scene = open_scene(path)
    assert [(band.name, band.width_nm) for band in scene.bands] == [
        (name, 11.5) for name in ("w0973", "w0860", "w0559", "w2497", "w1402", "w0943")
    ]
    assert scene.grid.crs.to_epsg() == 32632
    assert tuple(scene.grid.transform)[:6] == (30, 0, 500_000, 0, -30, 5_001_000)
    assert scene.acquired is not None
    assert scene.acquired.isoformat() == "2020-04-20T10:49:16.123456+00:00"
    chip = scene.read(scene.grid.full_window)
    assert not chip.valid[:, 0].any()
    assert chip.valid[:, 1:].all()
    with h5py.File(path) as file:
        raw = [np.asarray(file[f"{FIELDS}/{name.upper()}_Cube"]) for name in CENTRES]
    wanted = [
        low + cube[:, i].astype("f8") * (high - low) / 65535
        for cube, flags, (low, high) in zip(raw, FLAGS.values(), LIMITS.values(), strict=True)
        for i in np.flatnonzero(flags)
    ]
    np.testing.assert_allclose(chip.data[:, :, 1:], np.array(wanted)[:, :, 1:], atol=1e-6)
    part = scene.read(Window(2, 1, 3, 2))
    np.testing.assert_array_equal(part.data, chip.data[:, 1:3, 2:5])


def test_few_bands_are_made_of_the_many(tmp_path: Path) -> None:
    scene = open_scene(product(tmp_path), ReadRules(skip_nm=((1390, 1410),)))
    assert len(scene.bands) == 5
    chosen = scene.select([scene.bands[2]]).read(scene.grid.full_window)
    assert np.array_equal(chosen.data[0], scene.read(scene.grid.full_window).data[2])
    assert chosen.valid.sum() == ROWS * (COLS - 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"level": "L1"}, "it holds PRS_L1_HCO, which is on no map; use the L2D product"),
        ({"level": "L2C"}, "it holds PRS_L2C_HCO"),
        ({"without": "List_Cw_Swir"}, "no complete L2D product: .*List_Cw_Swir"),
        ({"without": "Epsg_Code"}, "no complete L2D product: .*Epsg_Code"),
    ],
)
def test_other_levels_and_damaged_files_are_refused(
    tmp_path: Path, given: dict[str, str], says: str
) -> None:
    with pytest.raises(SceneUnreadableError, match=says) as refused:
        open_scene(product(tmp_path, **given))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"nothing")
    with pytest.raises(SceneUnreadableError):
        open_scene(tmp_path / NAME)
