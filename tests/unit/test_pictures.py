"""Pictures of any form show what people see: colours, transparency, turns; and no hidden ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from rasterio.windows import Window

from rsmeta.config.load import load_settings
from rsmeta.data.images import ImageDataModule
from rsmeta.data.images.files import ImageReader
from rsmeta.data.images.listing import images_below
from rsmeta.data.images.pictures import read_colours
from rsmeta.errors import SceneUnreadableError
from rsmeta.geo.bands import Band
from rsmeta.geo.rules import ReadRules
from rsmeta.geo.sensors import load_sensor
from rsmeta.geo.sources import expand_sources

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning"  # of writing; reading does not warn
)

RGB = load_sensor("rgb").bands
SHOWN = np.random.default_rng(0).integers(0, 256, (6, 9)).astype(np.uint8)


def reader(*, as_rgb: bool = True, **rules: Any) -> ImageReader:
    bands = RGB if as_rgb else (Band("grey"),)
    return ImageReader(ReadRules(**rules), bands, as_rgb=as_rgb)


# -- colours -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("LA", "png"), ("I;16", "png"), ("I;16", "tif"), ("RGB", "png"), ("RGBA", "png"),
     ("P", "png"), ("CMYK", "tif"), ("rgb16", "tif"), ("rgba16", "tif"), ("rgb16", "vrt")],
)  # fmt: skip
def test_a_grey_ramp_keeps_its_order_in_every_form(tmp_path: Path, mode: str, suffix: str) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    path = tmp_path / f"a.{suffix}"
    if mode == "I;16":
        Image.fromarray(ramp.astype(np.uint16) * 257).save(path)
    elif mode.endswith("16"):
        bands = np.stack([ramp.astype(np.uint16) * 257] * 3)
        if mode == "rgba16":
            bands = np.concatenate([bands, np.full((1, 8, 8), 65535, np.uint16)])
        with rasterio.open(
            path, "w", driver="GTiff", width=8, height=8, count=len(bands), dtype="uint16",
            photometric="RGB",
        ) as file:  # fmt: skip
            file.write(bands)
        if suffix == "vrt":
            path.rename(tmp_path / "a.tif")
            rasterio.shutil.copy(tmp_path / "a.tif", path, driver="VRT")
    else:
        Image.fromarray(ramp).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    found = reader().read(str(path))
    assert found.valid.all()
    tolerance = 3 if mode == "P" else 1
    for band in found.data:
        np.testing.assert_allclose(band, ramp, atol=tolerance)


def test_classes_of_16_bits_are_learnt_from(tmp_path: Path) -> None:
    for name, value in (("dark", 1_000), ("light", 40_000)):
        for i in range(4):
            path = tmp_path / "data" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 20), value + i, np.uint16)).save(path)
    given_ = {"kind": "folder", "root": tmp_path / "data", "colour": "rgb", "chip_px": 16}
    data = ImageDataModule(load_settings({"data": given_}).data, task="classification", seed=0)
    images = data.parts["train"]
    assert images is not None
    means = [images.read(i).data.mean() for i in range(len(images))]
    assert means == sorted(means), "dark comes before light"
    assert means[-1] - means[0] > 100


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_that_are_no_colours_are_refused(tmp_path: Path, mode: str) -> None:
    Image.fromarray(np.ones((4, 4), {"I": np.int32, "F": np.float32}[mode])).save(
        tmp_path / "a.tif"
    )
    with pytest.raises(SceneUnreadableError, match=r"use data\.colour=as_is"):
        read_colours(str(tmp_path / "a.tif"))


# -- transparency ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["RGBA", "LA", "tRNS of P", "tRNS of L", "tRNS of RGB"])
def test_transparent_pixels_are_invalid(tmp_path: Path, form: str) -> None:
    hole = np.zeros((6, 9), bool)
    hole[2:4, 3:7] = True
    grey = np.where(hole, 0, np.maximum(SHOWN, 1)).astype(np.uint8)
    alpha = np.where(hole, 0, 255).astype(np.uint8)
    path = tmp_path / "a.png"
    if form in {"RGBA", "LA"}:
        layers = [grey] * (3 if form == "RGBA" else 1) + [alpha]
        Image.fromarray(np.stack(layers, axis=-1)).save(path)
    else:
        mode = form.rpartition(" ")[2]
        key: Any = (0, 0, 0) if mode == "RGB" else 0
        picture = Image.fromarray(grey)
        if mode == "P":
            picture.putpalette([i for value in range(256) for i in (value, value, value)])
        picture.convert(mode).save(path, transparency=key)
    found = reader(scale=2.0, offset=1.0).read(str(path))
    assert (found.valid == ~hole).all()
    assert not found.data[:, hole].any()
    np.testing.assert_array_equal(found.data[0][~hole], 2.0 * grey[~hole] + 1)
    part = reader(scale=2.0, offset=1.0).read_window(str(path), Window(3, 2, 4, 2))
    assert not part.valid.any()


@given(
    col=st.integers(-14, 14), row=st.integers(-14, 14),
    width=st.integers(1, 20), height=st.integers(1, 20), form=st.sampled_from(["RGBA", "rgb16"]),
)  # fmt: skip
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_is_what_the_whole_picture_holds_there(
    tmp_path: Path, col: int, row: int, width: int, height: int, form: str
) -> None:
    path = tmp_path / f"{form}.tif"
    if not path.exists() and form == "RGBA":
        Image.fromarray(np.stack([SHOWN] * 4, axis=-1)).save(path)
    elif not path.exists():
        with rasterio.open(path, "w", driver="GTiff", width=9, height=6, count=3, dtype="uint16",
                           photometric="RGB") as file:  # fmt: skip
            file.write(np.stack([SHOWN.astype(np.uint16) * 257] * 3))
    whole = read_colours(str(path))
    data, valid = np.zeros((3, 60, 60), np.float32), np.zeros((60, 60), bool)
    data[:, 20:26, 20:29], valid[20:26, 20:29] = whole.data, whole.valid
    found = read_colours(str(path), Window(col, row, width, height))
    there = np.s_[20 + row : 20 + row + height, 20 + col : 20 + col + width]
    np.testing.assert_array_equal(found.data, data[(slice(None), *there)])
    np.testing.assert_array_equal(found.valid, valid[there])


# -- turns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("as_rgb", [True, False])
def test_pictures_are_read_upright(tmp_path: Path, turn: int, suffix: str, as_rgb: bool) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = turn
    large = np.kron(SHOWN, np.ones((16, 16), np.uint8))
    options: dict[str, Any] = {} if suffix == "png" else {"quality": 100}
    shape = (
        Image.fromarray(large) if suffix != "webp" else Image.fromarray(np.stack([large] * 3, -1))
    )
    shape.save(path, exif=exif, **options)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("L"), np.float32)
    given_ = reader(as_rgb=as_rgb, bands=None if as_rgb else ("grey",))
    if suffix == "webp" and not as_rgb:
        given_ = ImageReader(ReadRules(bands=("red", "green", "blue")), RGB)
    found = given_.read(str(path))
    assert found.data.shape[1:] == found.valid.shape == wanted.shape
    np.testing.assert_allclose(found.data[0], wanted, atol=30)


# -- hidden ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder", [".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "$RECYCLE.BIN", ".cache/deep"]
)
def test_folders_of_other_programs_are_no_classes_and_hold_no_images(
    tmp_path: Path, folder: str
) -> None:
    picture = Image.fromarray(np.zeros((20, 20, 3), np.uint8))
    root = tmp_path / ".home" / "data"  # what is hidden above is the user's own choice
    for name in ("a", "b", folder, f"a/{folder}", f"{folder}/a"):
        for i in range(3):
            (root / name).mkdir(parents=True, exist_ok=True)
            picture.save(root / name / f"{i}.png")
            picture.save(root / name / f"._{i}.png")
    given_ = {"kind": "folder", "root": root, "colour": "rgb", "chip_px": 16}
    data = ImageDataModule(load_settings({"data": given_}).data, task="classification", seed=0)
    assert [spec.name for spec in data.classes] == ["a", "b"]
    assert sum(len(images) for images in data.parts.values() if images is not None) == 6
    assert len(images_below(root)) == 6
    assert len(expand_sources(["**/*.png"], root)) == 6
    assert len(expand_sources(["*.png"], root / folder)) == 3, "unless one names it"
