"""What a scene says of itself counts; what held for the training scenes fills its gaps only."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rasterio.control
import rasterio.rpc
import rioxarray  # noqa: F401 - gives arrays their accessor ``rio``

from rsmeta.errors import BandsMissingError, BandsUnrecognisedError, SceneError
from rsmeta.geo.arrays import ArrayRaster
from rsmeta.geo.bands import COMMON_NAMES, generic_band
from rsmeta.geo.handles import other_georeferencing
from rsmeta.geo.remote import remote_error
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.geo.bands import Band
    from tests.conftest import MakeScene

COLOURS = ("blue", "green", "red", "nir")
WANTED = [generic_band(name) for name in COLOURS]
#: As of a bundle that was trained on files that say nothing of themselves.
TRAINED = ReadRules(bands=COLOURS, scale=1e-4, offset=0.0, nodata=0)


def _raw(count: int, dtype: str = "uint16") -> np.ndarray:
    """Return a scene of 2 x 3 pixels that differ in each band."""
    values = 1000 * (1 + np.arange(count))[:, None, None] + np.arange(6).reshape(2, 3)
    return values.astype(dtype)


def _mapped(path: Path, wanted: Sequence[Band] = WANTED, **more: Any) -> tuple[Any, Any]:
    options = {"fallback": TRAINED} | more
    scene = open_scene(path, wanted=wanted, **options).select(wanted)
    chip = scene.read(scene.grid.full_window)
    return chip.data, chip.valid


def test_an_undescribed_scene_is_read_as_the_training_scenes_were(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    raw = _raw(4)
    raw[2, 1, 1] = 0
    data, valid = _mapped(make_scene(tmp_path / "a.tif", raw))
    np.testing.assert_allclose(data[:, 0, 0], [0.1, 0.2, 0.3, 0.4], rtol=1e-5)
    assert valid.sum() == 5


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
@pytest.mark.parametrize("names", [COLOURS, ("Blue", "GREEN", "Red ", "Near-Infrared")])
def test_described_bands_are_found_in_any_order(
    tmp_path: Path, make_scene: MakeScene, order: tuple[int, ...], names: tuple[str, ...]
) -> None:
    path = make_scene(
        tmp_path / "a.tif", _raw(4)[list(order)], descriptions=[names[i] for i in order]
    )
    np.testing.assert_allclose(_mapped(path)[0][:, 0, 0], [0.1, 0.2, 0.3, 0.4], rtol=1e-5)


def test_names_of_their_own_are_found_in_any_order_too(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    rules = ReadRules(bands=("slope", "curve", "wetness"))
    undescribed = make_scene(tmp_path / "a.tif", _raw(3))
    wanted = open_scene(undescribed, rules).bands
    path = make_scene(
        tmp_path / "b.tif", _raw(4)[[3, 2, 0, 1]],
        descriptions=["other", "wetness", "slope", "curve"],
    )  # fmt: skip
    data, _ = _mapped(path, wanted, fallback=rules)
    np.testing.assert_allclose(data[:, 0, 0], [1000, 2000, 3000])


def test_descriptions_that_say_nothing_do_not_hinder(tmp_path: Path, make_scene: MakeScene) -> None:
    path = make_scene(tmp_path / "a.tif", _raw(4), descriptions=[f"Layer {i}" for i in range(4)])
    np.testing.assert_allclose(_mapped(path)[0][:, 0, 0], [0.1, 0.2, 0.3, 0.4], rtol=1e-5)


def test_bands_that_are_known_and_not_there_are_never_taken_by_place(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    path = make_scene(tmp_path / "a.tif", _raw(4), descriptions=["blue", "green", "red", "swir16"])
    with pytest.raises(BandsMissingError, match="nir"):
        _mapped(path)


@pytest.mark.parametrize(
    ("dtype", "own"), [("uint16", 65535), ("int32", -9999), ("float32", -9999), ("uint16", 7)]
)
def test_both_values_without_data_are_invalid(
    tmp_path: Path, make_scene: MakeScene, dtype: str, own: float
) -> None:
    raw = _raw(4, dtype)
    raw[0, 0, 1], raw[3, 1, 2], raw[1, 0, 0] = own, own, 0
    path = make_scene(tmp_path / "a.tif", raw, nodata=own)
    data, valid = _mapped(path)
    np.testing.assert_array_equal(valid, [[False, False, True], [True, True, False]])
    assert (data[:, ~valid].min(axis=0) == 0).all()


@pytest.mark.parametrize("tag", [float("nan"), -9999.5, 1e30])
def test_a_nodata_value_that_cannot_occur_leaves_the_other(
    tmp_path: Path, make_scene: MakeScene, tag: float
) -> None:
    raw = _raw(4, "float32")
    raw[0, 0, 0], raw[1, 0, 1] = 0, np.nan
    path = make_scene(tmp_path / "a.tif", raw, nodata=tag)
    np.testing.assert_array_equal(_mapped(path)[1], [[False, False, True], [True, True, True]])


def test_masks_hold_beside_the_training_scenes_nodata(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    raw = _raw(4)
    raw[0, 0, 0] = 0
    path = make_scene(tmp_path / "a.tif", raw)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.array([[True, False, True], [True, True, True]]))
    np.testing.assert_array_equal(_mapped(path)[1], [[False, False, True], [True, True, True]])


SCALINGS = {
    "its own": ((1e-3,) * 4, (0.0,) * 4, [1, 2, 3, 4]),
    "an offset alone": ((1.0,) * 4, (-1000.0,) * 4, [0, 1000, 2000, 3000]),
    "each band its own": ((1e-3, 1e-2, 1e-3, 1e-4), (0, 1, 0, 0), [1, 21, 3, 0.4]),
    "some bands": ((1e-3, 1e-3, 1e-3, 1), (0,) * 4, [1, 2, 3, 4000]),
    "0, which is none": ((0.0,) * 4, (0.0,) * 4, [0.1, 0.2, 0.3, 0.4]),
    "0 with an offset": ((0.0,) * 4, (-1000.0,) * 4, [0, 1000, 2000, 3000]),
    "none": ((1.0,) * 4, (0.0,) * 4, [0.1, 0.2, 0.3, 0.4]),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_the_scaling_of_the_file_goes_first(
    tmp_path: Path, make_scene: MakeScene, name: str
) -> None:
    scales, offsets, expected = SCALINGS[name]
    path = make_scene(tmp_path / "a.tif", _raw(4))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = scales, offsets
    np.testing.assert_allclose(_mapped(path)[0][:, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "uint32"])
@pytest.mark.parametrize("name", ["sentinel2_l2a", "landsat_oli"])
def test_a_sensors_scaling_holds_for_every_integer_type(
    tmp_path: Path, make_scene: MakeScene, dtype: str, name: str
) -> None:
    sensor = load_sensor(name)
    bands = sensor.select(["blue", "green", "red"]).bands
    raw = _raw(3, dtype)
    raw[:, 0, 0] = 0
    path = make_scene(tmp_path / "a.tif", raw, descriptions=[band.name for band in bands])
    scene = open_scene(path, ReadRules(sensor=name))
    chip = scene.read(scene.grid.full_window)
    assert not chip.valid[0, 0]
    np.testing.assert_allclose(
        chip.data[:, 1, 1], raw[:, 1, 1] * sensor.scale + sensor.offset, rtol=1e-5
    )
    floats = make_scene(
        tmp_path / "b.tif", raw.astype(np.float32), descriptions=[band.name for band in bands]
    )
    scene = open_scene(floats, ReadRules(sensor=name))
    assert set(scene.scale) == {1.0}


EXTRAS = {
    "Landsat C2": (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "ST_B10",
                    "SR_QA_AEROSOL", "QA_PIXEL", "QA_RADSAT"), "landsat_oli", "nir08"),
    "Sentinel-2 with classes": (("SCL", "B02", "B03", "B04", "B08", "AOT"), "sentinel2_l2a", "nir"),
    "Sentinel-2, short": (("B2", "B3", "B4", "B8", "QA60"), "sentinel2_l2a", "nir"),
    "common names": (("red", "green", "blue", "nir", "NDVI", None), None, "nir"),
    "Planet SuperDove": (("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge",
                          "nir", "udm2"), None, "nir"),
    "words": (("QA", "Blue", "Green", "Red", "NIR", "SWIR1", "SWIR 2"), None, "nir"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRAS)
def test_bands_that_nobody_asked_for_are_ignored(
    tmp_path: Path, make_scene: MakeScene, name: str
) -> None:
    descriptions, sensor, nir = EXTRAS[name]
    wanted = [generic_band(one) for one in ("blue", "green", "red", nir)]
    path = make_scene(tmp_path / "a.tif", _raw(len(descriptions)), descriptions=descriptions)
    rules = ReadRules(sensor=sensor, scale=1.0)
    data, valid = _mapped(path, wanted, rules=rules, fallback=None)
    told = [
        next(i for i, text in enumerate(descriptions) if text is not None and _means(text, band))
        for band in wanted
    ]
    np.testing.assert_allclose(data[:, 0, 0], [1000 * (1 + i) for i in told])
    assert valid.all()


def _means(text: str, band: Band) -> bool:
    by_name = {
        "SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir08", "B02": "blue",
        "B03": "green", "B04": "red", "B08": "nir", "B2": "blue", "B3": "green", "B4": "red",
        "B8": "nir",
    }  # fmt: skip
    return by_name.get(text, text.lower()) == band.common_name


def test_what_means_different_things_needs_a_sensor(tmp_path: Path, make_scene: MakeScene) -> None:
    names = ["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", "QA_PIXEL"]
    path = make_scene(tmp_path / "a.tif", _raw(7), descriptions=names)
    wanted = [generic_band(name) for name in ("blue", "green", "red")]
    with pytest.raises(BandsUnrecognisedError, match="landsat_oli"):
        _mapped(path, wanted, fallback=None)
    for sensor, first in (("landsat_tm", 1000), ("landsat_oli", 2000)):
        data, _ = _mapped(path, wanted, rules=ReadRules(sensor=sensor, scale=1.0), fallback=None)
        np.testing.assert_allclose(data[:, 0, 0], first + np.array([0, 1000, 2000]))


def test_all_usual_names_stand_for_common_ones() -> None:
    from rsmeta.geo.bands import common_key

    for name in ("Coastal Aerosol", "green_i", "Red Edge 1", "near-infrared", "SWIR-2", "rededge"):
        assert common_key(name) in COMMON_NAMES


def test_other_georeferencing_is_named(tmp_path: Path, make_scene: MakeScene) -> None:
    plain = make_scene(tmp_path / "a.tif", _raw(4))
    assert other_georeferencing(plain) == ""
    path = tmp_path / "gcps.tif"
    points = [rasterio.control.GroundControlPoint(r, c, 15 + c, 46 - r) for r, c in
              ((0, 0), (0, 3), (2, 0), (2, 3))]  # fmt: skip
    with rasterio.open(
        path, "w", driver="GTiff", width=3, height=2, count=1, dtype="uint8", gcps=points,
        crs="EPSG:4326",
    ) as file:  # fmt: skip
        file.write(np.ones((1, 2, 3), np.uint8))
        file.rpcs = RPCS
    assert other_georeferencing(path) == (
        "4 ground control points and rational polynomial coefficients (RPCs)"
    )


RPCS = rasterio.rpc.RPC(
    height_off=0, height_scale=1, lat_off=46, lat_scale=1, line_den_coeff=[1.0] + 19 * [0.0],
    line_num_coeff=[0.0, 0.0, 1.0] + 17 * [0.0], line_off=1, line_scale=1, long_off=15,
    long_scale=1, samp_den_coeff=[1.0] + 19 * [0.0], samp_num_coeff=[0.0, 1.0] + 18 * [0.0],
    samp_off=1, samp_scale=1,
)  # fmt: skip


def test_degrees_in_float32_are_evenly_spaced() -> None:
    import xarray as xr

    lon = (15 + 1e-4 * np.arange(40)).astype(np.float32)
    lat = (46 - 1e-4 * np.arange(30)).astype(np.float32)
    array = xr.DataArray(
        np.ones((30, 40), np.float32), dims=("y", "x"), coords={"y": lat, "x": lon}
    ).rio.write_crs("EPSG:4326")
    raster = ArrayRaster(array, "the array")
    assert raster.transform.a == pytest.approx(1e-4, rel=1e-3)
    array["x"] = lon + np.where(np.arange(40) > 20, np.float32(3e-5), np.float32(0))
    with pytest.raises(SceneError, match="not evenly spaced"):
        ArrayRaster(array, "the array")


def test_a_server_without_ranges_is_named() -> None:
    said = "Range downloading not supported by this server!"
    assert "does not send parts of files" in str(remote_error("https://host/a.tif", said))
