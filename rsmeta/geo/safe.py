"""Sentinel-2 products as ESA delivers them (.SAFE folders and zips of them), as one raster each."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from rsmeta.errors import SceneError, SceneNotFoundError, SceneUnreadableError, one_line
from rsmeta.geo.sensors import load_sensor
from rsmeta.geo.stac_items import ItemBand

if TYPE_CHECKING:
    from rsmeta.geo.sensors import Sensor

_PRODUCT = re.compile(r"MSI(L1C|L2A)")
_METADATA = re.compile(r"MTD_MSI(L1C|L2A)\.xml$")
#: A band's image: T33TWM_20200101T100000_B02_10m.jp2, of L1C without its resolution. The images
#: of AOT, WVP, SCL and TCI beside them are about the pixels or for people.
_IMAGE = re.compile(r"IMG_DATA/(?:R\d+m/)?[^/]*_(B\d[\dA])(?:_(\d+)m)?\.(?:jp2|tiff?)$", re.I)
#: What the metadata of a product are called there, and as tags that GDAL's driver gives.
_TAGS = {
    "PROCESSING_BASELINE": "PROCESSING_BASELINE",
    "PRODUCT_START_TIME": "PRODUCT_START_TIME",
    "SPACECRAFT_NAME": "SPACECRAFT_NAME",
    "BOA_QUANTIFICATION_VALUE": "BOA_QUANTIFICATION_VALUE",
    "QUANTIFICATION_VALUE": "QUANTIFICATION_VALUE",
}
_OFFSET = re.compile(r"<(BOA|RADIO)_ADD_OFFSET[^>]*>([^<]+)<")


class SafeProduct:
    """A product: its bands and what its metadata say.

    Args:
        source: The .SAFE folder, its MTD_MSI….xml, or a zip of it.

    Raises:
        SceneError: It is missing or broken, or holds no band.
    """

    def __init__(self, source: str | Path) -> None:
        self.path = Path(source).expanduser().absolute()
        if self.path.name.startswith("MTD_"):
            self.path = self.path.parent
        self._names = self._list()
        metadata = [name for name in self._names if _METADATA.search(name)]
        level = _PRODUCT.search(metadata[0] if metadata else self.path.name)
        if level is None:
            raise SceneError(
                f"{self.path} holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml; is it a whole product of "
                f"Sentinel-2?"
            )
        self.sensor: Sensor = load_sensor(f"sentinel2_{level[1].lower()}")
        self.name = re.sub(r"\.(SAFE|zip)$", "", self.path.name, flags=re.I)
        self.tags = _tags_of(self._text(metadata[0])) if metadata else {}

    @property
    def bands(self) -> list[ItemBand]:
        """Its bands in the sensor's order, each from its finest image."""
        found: dict[str, tuple[int, str]] = {}
        for name in self._names:
            image = _IMAGE.search(name)
            if image is not None:
                key, size_m = image[1].upper(), int(image[2] or 0)
                found[key] = min(found.get(key, (size_m, name)), (size_m, name))
        if not found:
            raise SceneError(f"{self.path} holds no images of bands; is it complete?")
        return [
            ItemBand(band, band.name, self._place(found[band.name][1]), 1, None, None, None)
            for band in self.sensor.bands
            if band.name in found
        ]

    def _list(self) -> list[str]:
        if self.path.is_dir():
            inside = self.path.rglob("*")
            return sorted(file.relative_to(self.path).as_posix() for file in inside)
        if not self.path.is_file():
            raise SceneNotFoundError(self.path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                return sorted(archive.namelist())
        except (OSError, zipfile.BadZipFile) as error:
            raise SceneUnreadableError(self.path, one_line(error)) from error

    def _text(self, name: str) -> str:
        if self.path.is_dir():
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name).decode("utf-8", errors="replace")

    def _place(self, name: str) -> str:
        return str(self.path / name) if self.path.is_dir() else f"/vsizip/{self.path}/{name}"


def is_safe(source: str | Path) -> bool:
    """Return whether a source is a product of Sentinel-2 as ESA delivers it, by its name."""
    text = str(source).rstrip("/")
    if text.startswith("/vsi") or "://" in text:
        return False
    path = Path(text)
    if path.suffix.lower() == ".safe" or _METADATA.match(path.name):
        return True
    return path.suffix.lower() == ".zip" and _PRODUCT.search(path.name) is not None


def _tags_of(text: str) -> dict[str, str]:
    found = {}
    for key, tag in _TAGS.items():
        match = re.search(rf"<{key}[^>]*>([^<]+)<", text)
        if match is not None:
            found[tag] = match[1].strip()
    for kind, value in _OFFSET.findall(text):
        # One for all bands in every baseline so far; several differing ones are refused on reading.
        found[f"{kind}_ADD_OFFSET_{value.strip().lstrip('-').replace('.', '_')}"] = value.strip()
    return found
