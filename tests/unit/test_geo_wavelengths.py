"""Wavelengths and widths are read wherever files state them, and name bands that have no name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from rsmeta.errors import BandsUnrecognisedError, ConfigError
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.geo.wavelengths import own_name, spectral_notes, wavelength_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Units as files write them, and how a length in nanometres is written in each.
UNITS = {
    "nm": 1.0, "Nanometers": 1.0, "nanometre": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3,
    "Micrometers": 1e-3, "microns": 1e-3, "Angstroms": 10.0, "Millimeters": 1e-6, "Meters": 1e-9,
}  # fmt: skip


class Raster:
    """As much of a raster as wavelengths are read from."""

    name = "scene.tif"

    def __init__(
        self,
        descriptions: Sequence[str | None] = (),
        bands: Sequence[dict[str, str]] = (),
        imagery: Sequence[dict[str, str]] = (),
        domains: dict[str | None, dict[str, str]] | None = None,
    ) -> None:
        self.count = max(len(descriptions), len(bands), len(imagery))
        self.descriptions = tuple(descriptions) or (None,) * self.count
        self._own = bands or [{}] * self.count
        self._imagery = imagery or [{}] * self.count
        self._domains = domains or {}

    def tags(self, bidx: int = 0, ns: str | None = None) -> dict[str, str]:
        if not bidx:
            return self._domains.get(ns, {})
        return (self._imagery if ns == "IMAGERY" else self._own)[bidx - 1]


def centres(raster: Raster) -> list[float | None]:
    return [note.centre_nm for note in spectral_notes(raster)]


@given(st.floats(150, 15_000), st.sampled_from(sorted(UNITS)))
def test_every_unit_is_read_from_tags_and_lists(length_nm: float, unit: str) -> None:
    written = repr(length_nm * UNITS[unit])
    tag = {"wavelength": written, "wavelength_units": unit, "fwhm": written}
    (note,) = spectral_notes(Raster(bands=[tag]))
    assert note.centre_nm == pytest.approx(length_nm)
    assert note.width_nm == pytest.approx(length_nm)
    header = {"wavelength": f"{{{written}, {written}}}", "wavelength_units": unit}
    assert centres(Raster([None, None], domains={"ENVI": header})) == pytest.approx([length_nm] * 2)


@pytest.mark.parametrize(
    ("text", "centre_nm", "width_nm", "name"),
    [
        ("483.0 nm", 483.0, None, ""),
        ("483nm", 483.0, None, ""),
        ("0.483 Micrometers", 483.0, None, ""),
        ("0.483 µm", 483.0, None, ""),
        ("Band 12 (560.4 nm)", 560.4, None, ""),
        ("B12_560nm", 560.0, None, ""),
        ("Red edge (717 Nanometers)", 717.0, None, "Red edge"),
        ("665 nm (FWHM 30 nm)", 665.0, 30.0, ""),
        ("10 nm wide, centre wavelength 717.5 nm", 717.5, 10.0, ""),
        ("630-690 nm", 660.0, 60.0, ""),
        ("B4, central wavelength 665 nm", 665.0, None, ""),
        ("wavelength 4.83e2 nm", 483.0, None, ""),
        ("10m resolution", None, None, "10m resolution"),
        ("0 nm", None, None, ""),
        ("2019", None, None, ""),
        ("5 nmol", None, None, "5 nmol"),
        ("NDVI", None, None, "NDVI"),
    ],
)
def test_descriptions(
    text: str, centre_nm: float | None, width_nm: float | None, name: str
) -> None:
    (note,) = spectral_notes(Raster([text]))
    assert (note.centre_nm, note.width_nm) == (centre_nm, width_nm)
    assert own_name(text) == name


@pytest.mark.parametrize(
    ("raster", "expected"),
    [
        # Numbers without a unit: micrometres up to 100.
        (Raster(bands=[{"wavelength": "0.48"}, {"wavelength": "11.45"}]), [480.0, 11_450.0]),
        (Raster(bands=[{"WAVELENGTH": "480"}, {"WAVELENGTH": "2250.5"}]), [480.0, 2250.5]),
        (Raster(bands=[{"center_wavelength_nm": "480"}]), [480.0]),
        (Raster(bands=[{"eo:center_wavelength": "0.48"}]), [480.0]),
        (Raster(bands=[{"central wavelength": "0.48 um"}]), [480.0]),
        # GDAL rounds what it says itself in micrometres: the tag is the exact one.
        (Raster(bands=[{"wavelength": "0.48251", "wavelength_units": "um"}],
                imagery=[{"CENTRAL_WAVELENGTH_UM": "0.483"}]), [482.51]),
        (Raster(imagery=[{"CENTRAL_WAVELENGTH_UM": "0.40002", "FWHM_UM": "0.01"}]), [400.02]),
        (Raster(bands=[{"wavelength": "20000", "wavelength_units": "Wavenumber"}]), [500.0]),
        (Raster(bands=[{"wavelength": "5.405", "wavelength_units": "GHz"}]), [55_465_764.66]),
        (Raster(bands=[{"wavelength": "7", "wavelength_units": "Index"}]), [None]),
        (Raster(bands=[{"wavelength": t} for t in ("0", "-9999", "nan", "inf", "x")]), [None] * 5),
        (Raster(["483.25", "560.75"]), [483.25, 560.75]),
        (Raster(["wl_483", "wl_560"]), [483.0, 560.0]),
        (Raster(["2015", "2020"]), [None, None]),
        (Raster(["1.0", "2.0"]), [None, None]),
        (Raster([None] * 2, domains={None: {"wavelength": "{480, 560, 655}"}}), [None, None]),
        (Raster([None] * 2, domains={None: {"wavelengths": "480 560"}}), [480.0, 560.0]),
    ],
)  # fmt: skip
def test_sources_and_edge_values(raster: Raster, expected: list[float | None]) -> None:
    assert centres(raster) == pytest.approx(expected)


def test_width_of_a_wave_number_is_of_the_same_wave() -> None:
    tag = {"wavelength": "20000", "wavelength_units": "Wavenumber", "fwhm": "400"}
    assert spectral_notes(Raster(bands=[tag]))[0].width_nm == pytest.approx(10.0)


def test_names_keep_order_and_repetitions() -> None:
    assert wavelength_names([483.2, 399.6, 483.4, 2202.3, 11_450.0]) == [
        "w0483", "w0400", "w0483_2", "w2202", "w11450",
    ]  # fmt: skip


HEADER = """ENVI
samples = 3
lines = 2
bands = 4
header offset = 0
file type = ENVI Standard
data type = 4
interleave = bsq
byte order = 0
"""


@pytest.mark.parametrize(
    ("more", "names", "widths"),
    [
        ("wavelength units = Micrometers\nwavelength = {0.4, 0.5, 0.6, 2.4}\n"
         "fwhm = {0.01, 0.01, 0.011, 0.01}", ("w0400", "w0500", "w0600", "w2400"), 10.0),
        ("wavelength = {400, 500,\n 600, 2400}\nfwhm = {10, 10, 11, 10}",
         ("w0400", "w0500", "w0600", "w2400"), 10.0),
        ("wavelength units = Nanometers\nwavelength = {400, 500, 600, 2400}\nbbl = {1, 0, 1, 0.0}",
         ("w0400", "w0600"), None),
        ("wavelength units = Nanometers\nwavelength = {400, 500, 600, 2400}\n"
         "band names = {Band 1, violet, Band 3, Band 4}",
         ("w0400", "violet", "w0600", "w2400"), None),
    ],
)  # fmt: skip
def test_envi_headers(tmp_path: Path, more: str, names: tuple[str, ...], widths: float) -> None:
    np.zeros((4, 2, 3), "<f4").tofile(tmp_path / "a.img")
    (tmp_path / "a.hdr").write_text(HEADER + more + "\n", encoding="utf-8")
    scene = open_scene(tmp_path / "a.img")
    assert tuple(band.name for band in scene.bands) == names
    assert scene.bands[0].wavelength_nm == 400.0
    assert scene.bands[0].width_nm == (None if widths is None else pytest.approx(widths))
    # What the user names is all there is, bad bands too.
    all_four = open_scene(tmp_path / "a.img", ReadRules(bands=("a", "b", "c", "d")))
    assert [band.wavelength_nm for band in all_four.bands] == [400.0, 500.0, 600.0, 2400.0]


@pytest.mark.parametrize(
    ("element", "width"), [("bandID", "FWHMOfBand"), ("band", "wavelengthWidthOfBand")]
)
def test_enmap_and_desis(make_scene: Any, tmp_path: Path, element: str, width: str) -> None:
    image = make_scene(tmp_path / "L2A-DT0-SPECTRAL_IMAGE.TIF", np.zeros((3, 4, 4), np.int16))
    bands = "".join(
        f"<{element} number='{i}'><wavelengthCenterOfBand>{nm}</wavelengthCenterOfBand>"
        f"<{width}>6.5</{width}></{element}>"
        for i, nm in enumerate((418.4, 424.0, 2445.5), 1)
    )
    (tmp_path / "L2A-DT0-METADATA.XML").write_text(
        f"<level_X><specific><bandCharacterisation>{bands}</bandCharacterisation></specific>"
        f"</level_X>",
        encoding="utf-8",
    )
    found = open_scene(image).bands
    assert [(b.name, b.width_nm) for b in found] == [
        ("w0418", 6.5), ("w0424", 6.5), ("w2446", 6.5),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["nc", "zarr"])
@pytest.mark.parametrize(("name", "units", "factor"), [
    ("wavelength", "um", 1e-3), ("wavelengths", "nm", 1.0), ("band", "nm", 1.0),
])  # fmt: skip
def test_array_coordinates(
    tmp_path: Path, ending: str, name: str, units: str, factor: float
) -> None:
    stated = np.array([480.0, 560.0, 655.0], np.float32) * factor
    array = xr.DataArray(
        np.zeros((3, 4, 5), np.float32),
        dims=(name, "y", "x"),
        coords={
            name: (name, stated, {"units": units, "long_name": "centre wavelength"}),
            "fwhm": (name, np.array([60, 40, 30], np.float32) * factor, {"units": units}),
            "y": np.arange(4)[::-1] * 10.0, "x": np.arange(5) * 10.0,
        },
        name="reflectance",
    )  # fmt: skip
    path = tmp_path / f"scene.{ending}"
    if ending == "nc":
        array.to_netcdf(path, engine="h5netcdf")
    else:
        array.to_dataset().to_zarr(path, zarr_format=2)
    found = open_scene(path).bands
    assert [b.name for b in found] == ["w0480", "w0560", "w0655"]
    assert [b.width_nm for b in found] == pytest.approx([60, 40, 30])


def test_emit_group(tmp_path: Path) -> None:
    """Bands, widths and good bands in a group of their own, rows and columns along the track."""
    path = tmp_path / "EMIT_L2A_RFL.nc"
    cube = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    xr.Dataset({"reflectance": (("downtrack", "crosstrack", "bands"), cube)}).to_netcdf(
        path, engine="h5netcdf"
    )
    band = {
        "wavelengths": (
            "bands",
            np.array([381.0, 388.4, 1400.2, 2492.9], np.float32),
            {"units": "nm"},
        ),
        "fwhm": ("bands", np.full(4, 8.4, np.float32), {"units": "nm"}),
        "good_wavelengths": ("bands", np.array([1, 1, 0, 1], np.uint8)),
    }
    xr.Dataset(band).to_netcdf(path, engine="h5netcdf", group="sensor_band_parameters", mode="a")
    scene = open_scene(path)
    assert [b.name for b in scene.bands] == ["w0381", "w0388", "w2493"]
    assert scene.bands[0].width_nm == 8.4
    np.testing.assert_array_equal(
        scene.read(scene.grid.full_window).data, cube.transpose(2, 0, 1)[[0, 1, 3]]
    )


def test_stac_items_keep_wavelength_and_width(make_scene: Any, tmp_path: Path) -> None:
    make_scene(tmp_path / "cube.tif", np.zeros((2, 4, 4), np.float32))
    bands = [
        {"eo:center_wavelength": nm / 1000, "eo:full_width_half_max": 0.01} for nm in (480, 490)
    ]
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": "cube", "properties": {}, "links": [],
        "geometry": None,
        "assets": {"data": {"href": "cube.tif", "type": "image/tiff", "bands": bands}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item), encoding="utf-8")
    found = open_scene(tmp_path / "item.json").bands
    assert [(b.name, b.wavelength_nm, b.width_nm) for b in found] == [
        ("w0480", pytest.approx(480), pytest.approx(10)),
        ("w0490", pytest.approx(490), pytest.approx(10)),
    ]


def tagged(path: Path, make_scene: Any, centres_nm: Sequence[float | None]) -> Path:
    """Write a scene with wavelengths in tags, and none where there is None."""
    make_scene(path, np.ones((len(centres_nm), 4, 4), np.float32))
    with rasterio.open(path, "r+") as file:
        for i, nm in enumerate(centres_nm, 1):
            if nm is not None:
                file.update_tags(i, wavelength=nm, wavelength_units="nm")
    return path


def test_bands_without_wavelength(make_scene: Any, tmp_path: Path) -> None:
    """Of a file some of whose bands state none, those that do are taken if the user says so."""
    path = tagged(tmp_path / "a.tif", make_scene, [480, 560, None])
    with pytest.raises(BandsUnrecognisedError, match=r"data\.bands=wavelengths"):
        open_scene(path)
    scene = open_scene(path, ReadRules(bands="wavelengths"))
    assert ([b.name for b in scene.bands], scene.band_indexes) == (["w0480", "w0560"], (1, 2))
    bare = make_scene(tmp_path / "b.tif", np.ones((3, 4, 4), np.float32))
    with pytest.raises(BandsUnrecognisedError, match="none of its bands states one"):
        open_scene(bare, ReadRules(bands="wavelengths"))


def test_skipped_ranges(make_scene: Any, tmp_path: Path) -> None:
    path = tagged(tmp_path / "a.tif", make_scene, [1330, 1340, 1400, 1460, 1461, 1350])
    scene = open_scene(path, ReadRules(skip_nm=((1340, 1460),)))
    assert [b.name for b in scene.bands] == ["w1330", "w1461"]
    with pytest.raises(ConfigError, match="none of its 6 bands"):
        open_scene(path, ReadRules(skip_nm=((1000, 2000),)))
    # What held in training holds for scenes to map; names do not change with what is skipped.
    assert open_scene(path, fallback=ReadRules(skip_nm=((1340, 1460),))).bands == scene.bands


def test_indian_pines(shared_data: Path) -> None:
    scene = open_scene(shared_data / "indian_pines" / "scene.tif")
    assert len(scene.bands) == 200
    assert len({band.name for band in scene.bands}) == 200
    assert [band.name for band in scene.bands[169:174]] == [
        "w2202", "w2260", "w2270", "w2232", "w2242",
    ]  # fmt: skip
