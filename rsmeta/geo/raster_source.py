"""Where a raster is read from, as one value: nothing else reads meaning out of such strings."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from rsmeta.geo.remote import gdal_name, is_remote, without_query

# GDAL's names that are not paths: <VRTDataset…, /vsi…, http://…, NETCDF:…, SENTINEL2_L2A:…
_NOT_A_PATH = re.compile(r"<|/vsi|[A-Za-z][A-Za-z0-9+.-]*://|[A-Z][A-Z0-9_]+:")
_SIGNATURES = re.compile(r"\?[^<]*(?=</SourceFilename>)")


@dataclass(frozen=True)
class RasterSource:
    """Where a raster is read from.

    Args:
        name: What messages call it; never holds credentials.
        gdal_name: What GDAL opens: a path, /vsi…, a subdataset, or the XML of a VRT.
        uri: Where it lies, as recorded in maps: a path, an address, or that of its STAC item.
        identity: What ``--resume`` compares: the same for one raster however it is addressed,
            without signatures, which expire.
        is_remote: Whether it, or a file that it refers to, lies behind a network.
    """

    name: str
    gdal_name: str
    uri: str
    identity: str
    is_remote: bool = False

    @classmethod
    def of(cls, given: AnySource) -> RasterSource:
        """Return the source that a user means by a path, an address or a name of GDAL's."""
        if isinstance(given, RasterSource):
            return given
        text = str(given)
        if text.lstrip().startswith("<"):
            return cls.of_vrt(text, name="the VRT")
        plain = without_query(text)
        identity = str(Path(text).expanduser().absolute()) if is_path(given) else plain
        return cls(plain, gdal_name(text), plain, identity, is_remote(text))

    @classmethod
    def of_vrt(cls, xml: str, name: str, uri: str | None = None) -> RasterSource:
        """Return the source of a VRT that is never written to a file.

        Args:
            xml: Its text.
            name: What messages call it.
            uri: Where what it shows lies; none: ``name``.
        """
        digest = hashlib.sha256(_SIGNATURES.sub("", xml).encode()).hexdigest()
        return cls(name, xml, uri or name, f"{name} {digest}", is_remote(xml))

    @property
    def path(self) -> Path | None:
        """The local file or folder, where it is one."""
        return Path(self.gdal_name) if is_path(self.gdal_name) else None

    def absolute(self) -> RasterSource:
        """Return the same source for a process with another current folder."""
        if self.path is None:
            return self
        return replace(self, gdal_name=str(self.path.expanduser().absolute()))


AnySource: TypeAlias = RasterSource | str | Path


def is_path(source: str | Path) -> bool:
    """Return whether a text names a local file, not something that only GDAL can find."""
    return isinstance(source, Path) or _NOT_A_PATH.match(source) is None
