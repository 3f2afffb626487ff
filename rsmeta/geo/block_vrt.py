"""Blocks in files of their own, as one raster: a VRT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from rsmeta.geo.grid import Grid, whole_pixels
from rsmeta.geo.handles import open_quietly

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rasterio.windows import Window


@dataclass(frozen=True)
class RasterSpec:
    """What a raster is like, apart from its pixels.

    Args:
        grid: Place of the pixels.
        count: Number of bands.
        dtype: NumPy name of the type of the numbers.
        nodata: Number without data, if there is one; pixels that no block holds have it.
        colormap: Value -> red, green, blue (0..255), for a single uint8 band.
        descriptions: Name of each band.
        tags: Metadata of the dataset.
        scale: What the numbers are times, in every band.
        unit: Unit of the numbers, scaled.
    """

    grid: Grid
    count: int
    dtype: str
    nodata: float | None
    colormap: Mapping[int, tuple[int, ...]] | None = None
    descriptions: Sequence[str] = ()
    tags: Mapping[str, str] | None = None
    scale: float = 1.0
    unit: str | None = None

    @property
    def profile(self) -> dict[str, Any]:
        """The type of the numbers as rasterio wants it."""
        return {"count": self.count, "dtype": self.dtype, "nodata": self.nodata}


def write_block_vrt(path: Path, look: RasterSpec, blocks: Iterable[tuple[Window, str]]) -> None:
    """Write a VRT that shows blocks at their places and nodata elsewhere.

    Args:
        path: The VRT to write.
        look: What it is like.
        blocks: Place of each block, and its file's name in the folder of ``path``.

    Raises:
        Exception: One of ``rsmeta.geo.handles.GDAL_ERRORS``: it cannot be written.
    """
    with open_quietly(
        path, "w", driver="VRT", width=look.grid.width_px, height=look.grid.height_px,
        crs=look.grid.crs, transform=look.grid.transform, **look.profile,
    ) as dataset:  # fmt: skip
        if look.colormap:
            dataset.write_colormap(1, dict(look.colormap))
        for index, text in enumerate(look.descriptions, 1):
            dataset.set_band_description(index, text)
        dataset.update_tags(**(look.tags or {}))
        if look.scale != 1:
            dataset.scales = [look.scale] * look.count
        if look.unit:
            dataset.units = [look.unit] * look.count
    tree = ElementTree.parse(path)  # GDAL has just written it
    placed = [(_rectangles(window), name) for window, name in blocks]
    for index, band in enumerate(tree.iter("VRTRasterBand"), 1):
        band.extend(_source(name, index, *rectangles) for rectangles, name in placed)
    tree.write(path, encoding="utf-8")


def _rectangles(window: Window) -> tuple[dict[str, str], dict[str, str]]:
    row, col, height, width = whole_pixels(window)
    size = {"xSize": str(width), "ySize": str(height)}
    return {"xOff": "0", "yOff": "0", **size}, {"xOff": str(col), "yOff": str(row), **size}


def _source(
    name: str, band: int, inside: dict[str, str], place: dict[str, str]
) -> ElementTree.Element:
    source = ElementTree.Element("SimpleSource")
    ElementTree.SubElement(source, "SourceFilename", relativeToVRT="1").text = name
    ElementTree.SubElement(source, "SourceBand").text = str(band)
    ElementTree.SubElement(source, "SrcRect", inside)
    ElementTree.SubElement(source, "DstRect", place)
    return source
