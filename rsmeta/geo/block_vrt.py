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
        nodata: Value without data, if there is one; pixels outside all blocks have it.
        colormap: Value -> red, green, blue (0..255), for a single uint8 band.
        descriptions: Name of each band.
        tags: Metadata of the dataset.
        scale: Factor of the numbers, in every band.
        unit: Unit of the scaled numbers.
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
        """Count, type and nodata, as ``rasterio.open`` takes them."""
        return {"count": self.count, "dtype": self.dtype, "nodata": self.nodata}


def write_block_vrt(path: Path, spec: RasterSpec, blocks: Iterable[tuple[Window, str]]) -> None:
    """Write a VRT that shows blocks at their places and nodata elsewhere.

    Args:
        path: The VRT to write.
        spec: The raster apart from its pixels.
        blocks: Place of each block, and its file's name in the folder of ``path``.

    Raises:
        Exception: One of ``rsmeta.geo.handles.GDAL_ERRORS``: it cannot be written.
    """
    with open_quietly(
        path, "w", driver="VRT", width=spec.grid.width_px, height=spec.grid.height_px,
        crs=spec.grid.crs, transform=spec.grid.transform, **spec.profile,
    ) as dataset:  # fmt: skip
        if spec.colormap:
            dataset.write_colormap(1, dict(spec.colormap))
        for index, text in enumerate(spec.descriptions, 1):
            dataset.set_band_description(index, text)
        dataset.update_tags(**(spec.tags or {}))
        if spec.scale != 1:
            dataset.scales = [spec.scale] * spec.count
        if spec.unit:
            dataset.units = [spec.unit] * spec.count
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
