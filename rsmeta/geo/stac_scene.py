"""A STAC item as one raster: a VRT, never written to a file, that shows the assets it needs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Xml

from rasterio.dtypes import dtype_rev, typename_fwd
from rasterio.enums import MaskFlags

from rsmeta.errors import GridMismatchError, SceneError
from rsmeta.geo.grid import Grid, apply
from rsmeta.geo.handles import open_raster
from rsmeta.geo.raster_source import RasterSource
from rsmeta.geo.remote import gdal_name, without_query
from rsmeta.geo.safe import SafeProduct
from rsmeta.geo.spectral_match import mix_bands
from rsmeta.geo.stac_items import ItemBand, item_bands, read_item, single_asset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.geo.bands import Band
    from rsmeta.geo.rules import ReadRules
    from rsmeta.geo.sensors import Sensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemRaster:
    """What GDAL opens for an item.

    Attributes:
        source: A VRT of its assets; or the item's only raster.
        bands: Its bands, in order; none: the raster states them itself.
        sensor: Name of the sensor, where all bands are of one that is known.
        has_scale: Whether the item states scale and offset of all of them.
        has_nodata: Whether it states the number without data.
    """

    source: RasterSource
    bands: tuple[str, ...] | None
    sensor: str | None
    has_scale: bool
    has_nodata: bool

    def rules(self, given: ReadRules) -> ReadRules:
        """Return what the user says about it, with the names of its bands."""
        if self.bands is None:
            return given
        return replace(given, bands=self.bands, sensor=given.sensor or self.sensor)

    def fallback(self, given: ReadRules) -> ReadRules:
        """Return what held for other files, less what the item says of itself."""
        told = replace(given, scale=None, offset=None) if self.has_scale else given
        return replace(told, nodata=None) if self.has_nodata else told


@dataclass(frozen=True)
class _Asset:
    """A file of an item, as it was opened."""

    key: str
    grid: Grid
    dataset: Any


def item_raster(source: str, wanted: Sequence[Band] | None) -> ItemRaster:
    """Return an item as one raster on the finest grid of the assets that are needed.

    Coarser assets are repeated pixel by pixel onto it (nearest neighbour); nothing is warped.

    Args:
        source: The item; see ``read_item``.
        wanted: Bands that are needed; other assets are not opened. None: all.

    Raises:
        SceneError: The item or an asset is unavailable, or describes no bands.
        BandsMissingError: A wanted band is not there.
        GridMismatchError: The assets lie on different grids.
    """
    document, item = read_item(source)
    bands, sensor = item_bands(document, item)
    if not bands:
        only = single_asset(document, item)
        if only is None:
            raise SceneError(
                f"the item {item['id']} does not say which bands its assets hold (bands or "
                f"eo:bands); give the assets themselves"
            )
        return ItemRaster(RasterSource.of(only), None, None, has_scale=False, has_nodata=False)
    tags, uri = _tags(item), without_query(_address(source, document))
    return _shown(f"the item {item['id']}", item["id"], uri, tags, bands, sensor, wanted)


def safe_raster(source: str | Path, wanted: Sequence[Band] | None) -> ItemRaster:
    """Return a product of Sentinel-2 as one raster; as of ``item_raster``."""
    product = SafeProduct(source)
    return _shown(
        str(product.path), product.name, str(product.path), product.tags, product.bands,
        product.sensor, wanted,
    )  # fmt: skip


def _shown(
    what: str, name: str, uri: str, tags: Mapping[str, str], bands: list[ItemBand],
    sensor: Sensor | None, wanted: Sequence[Band] | None,
) -> ItemRaster:  # fmt: skip
    """Return the bands that are needed as one VRT, on the finest of their grids."""
    if wanted is not None:
        found = mix_bands(wanted, [band.band for band in bands], what)
        bands = [bands[i] for i in sorted({i for mix in found for i in mix.shares})]
    assets = {band.source: _opened(band) for band in bands}
    finest = min((asset.grid for asset in assets.values()), key=lambda g: abs(_area(g)))
    for asset in assets.values():
        _check_grid(asset, finest, name)
    _say_coarser(bands, assets, finest, name)
    return ItemRaster(
        source=RasterSource.of_vrt(_vrt(tags, bands, assets, finest), name=name, uri=uri),
        bands=tuple(band.band.name for band in bands),
        sensor=None if sensor is None else sensor.name,
        has_scale=all(band.scale is not None for band in bands),
        has_nodata=all(band.nodata is not None for band in bands),
    )


def _opened(band: ItemBand) -> _Asset:
    dataset = open_raster(band.source)
    if band.index > dataset.count:
        raise SceneError(
            f"{band.source} has {dataset.count} bands, and the item says that {band.band} is its "
            f"{band.index}th; the item is wrong"
        )
    if MaskFlags.per_dataset in dataset.mask_flag_enums[band.index - 1]:
        logger.warning("%s: the mask inside %s is not used", band.asset, band.source)
    grid = Grid(dataset.crs or None, dataset.transform, dataset.height, dataset.width)
    return _Asset(band.asset, grid, dataset)


def _area(grid: Grid) -> float:
    return float(grid.transform.determinant)


def _check_grid(asset: _Asset, finest: Grid, item: str) -> None:
    """Refuse what could only be shown by warping it."""
    grid, t = asset.grid, asset.grid.transform
    half = [side / 2 for side in (*grid.pixel_size, *grid.pixel_size)]
    near = all(
        abs(a - b) <= limit for a, b, limit in zip(grid.bounds, finest.bounds, half, strict=True)
    )
    straight = grid == finest or (t.b == t.d == finest.transform.b == finest.transform.d == 0)
    if grid.crs != finest.crs or not near or not straight:
        raise GridMismatchError(
            f"the asset {asset.key} of {item} lies on another grid ({grid.crs}, {grid.bounds}) "
            f"than the others ({finest.crs}, {finest.bounds}); bring them onto one first"
        )


def _say_coarser(
    bands: Sequence[ItemBand], assets: Mapping[str, _Asset], finest: Grid, item: str
) -> None:
    coarser = [band for band in bands if assets[band.source].grid.shape != finest.shape]
    if coarser:
        sizes = sorted({f"{assets[band.source].grid.pixel_size[0]:g}" for band in coarser})
        logger.info(
            "%s: %s (pixels of %s) are repeated onto pixels of %g by nearest neighbour",
            item, ", ".join(str(b.band) for b in coarser), " and ".join(sizes),
            finest.pixel_size[0],
        )  # fmt: skip


def _vrt(
    tags: Mapping[str, str], bands: Sequence[ItemBand], assets: Mapping[str, _Asset], grid: Grid
) -> str:
    size = {"rasterXSize": str(grid.width_px), "rasterYSize": str(grid.height_px)}
    root = Xml.Element("VRTDataset", size)
    if grid.crs is not None:
        Xml.SubElement(root, "SRS").text = grid.crs.to_wkt()
    numbers = ", ".join(repr(float(n)) for n in grid.transform.to_gdal())
    Xml.SubElement(root, "GeoTransform").text = numbers
    metadata = Xml.SubElement(root, "Metadata")
    for key, value in tags.items():
        Xml.SubElement(metadata, "MDI", {"key": key}).text = value
    for number, band in enumerate(bands, 1):
        root.append(_vrt_band(number, band, assets[band.source], grid))
    return Xml.tostring(root, encoding="unicode")


def _vrt_band(number: int, band: ItemBand, asset: _Asset, grid: Grid) -> Xml.Element:
    dataset, i = asset.dataset, band.index - 1
    kind = typename_fwd[dtype_rev[dataset.dtypes[i]]]
    element = Xml.Element("VRTRasterBand", {"dataType": kind, "band": str(number)})
    nodata = band.nodata if band.nodata is not None else dataset.nodatavals[i]
    scale, offset = dataset.scales[i], dataset.offsets[i]
    if band.scale is not None:
        scale, offset = band.scale, band.offset or 0.0
    texts = {"Description": band.band.name, "NoDataValue": nodata, "Offset": offset, "Scale": scale}
    for key, value in texts.items():
        if value is not None:
            Xml.SubElement(element, key).text = value if isinstance(value, str) else repr(value)
    spectrum = {"CENTRAL_WAVELENGTH_UM": band.band.wavelength_nm, "FWHM_UM": band.band.width_nm}
    imagery = Xml.SubElement(element, "Metadata", {"domain": "IMAGERY"})
    for key, length_nm in spectrum.items():
        if length_nm is not None:
            Xml.SubElement(imagery, "MDI", {"key": key}).text = repr(length_nm / 1000)
    source = Xml.SubElement(element, "SimpleSource")
    name = Xml.SubElement(source, "SourceFilename", {"relativeToVRT": "0"})
    name.text = gdal_name(band.source)
    Xml.SubElement(source, "SourceBand").text = str(band.index)
    height_px, width_px = dataset.block_shapes[i]
    shape = {"RasterXSize": str(dataset.width), "RasterYSize": str(dataset.height)}
    blocks = {"BlockXSize": str(width_px), "BlockYSize": str(height_px)}
    Xml.SubElement(source, "SourceProperties", {**shape, "DataType": kind, **blocks})
    Xml.SubElement(source, "SrcRect", _rectangle(0, 0, dataset.width, dataset.height))
    left, top = apply(~grid.transform, asset.grid.transform.c, asset.grid.transform.f)
    across = asset.grid.transform.a / grid.transform.a if grid != asset.grid else 1.0
    down = asset.grid.transform.e / grid.transform.e if grid != asset.grid else 1.0
    place = _rectangle(left, top, dataset.width * across, dataset.height * down)
    Xml.SubElement(source, "DstRect", place)
    return element


def _rectangle(x: float, y: float, width: float, height: float) -> dict[str, str]:
    values = (round(value, 6) for value in (x, y, width, height))
    return dict(zip(("xOff", "yOff", "xSize", "ySize"), map(str, values), strict=True))


def _address(source: str, document: str) -> str:
    """Return where an item is: as it was given, or, of a catalog's, where its link led."""
    place = source if source.startswith(document) else document
    return place if "://" in place else str(Path(place).expanduser().absolute())


def _tags(item: Mapping[str, Any]) -> dict[str, str]:
    properties = item.get("properties", {})
    moment = properties.get("datetime") or properties.get("start_datetime")
    tags = {
        "ACQUISITIONDATETIME": moment,
        "PLATFORM": properties.get("platform"),
        "PROCESSING_BASELINE": properties.get("s2:processing_baseline"),
        "BOA_OFFSET_APPLIED": properties.get("earthsearch:boa_offset_applied"),
    }
    return {key: str(value) for key, value in tags.items() if value is not None}
