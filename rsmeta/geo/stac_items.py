"""STAC documents: the items in them, and the bands of their assets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from rsmeta.errors import SceneError, SceneNotFoundError, SceneUnreachableError, one_line
from rsmeta.files import read_text
from rsmeta.geo.bands import COMMON_NAMES, Band, loose_key
from rsmeta.geo.remote import without_query
from rsmeta.geo.sensors import load_sensor
from rsmeta.geo.wavelengths import wavelength_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rsmeta.geo.sensors import Sensor

_TIMEOUT_S = 30
_RETRIES = 4
_ITEM_ADDRESS = re.compile(r"/items/[^/]+/?$|/search/?$")
_RASTER_TYPES = re.compile(r"image/(tiff|jp2|vnd\.stac\.geotiff)|application/x-hdf|^$")
_RASTER_ENDINGS = (".tif", ".tiff", ".jp2", ".vrt")
#: Assets for people, and those about pixels rather than of them.
_OTHER_ROLES = {"thumbnail", "overview", "visual", "metadata"}
#: A stated centre belongs to the sensor's band whose own is as near as this.
_NEAR_NM = 15.0


@dataclass(frozen=True)
class ItemBand:
    """A band of an asset.

    Attributes:
        band: What it is: of the sensor, where that is known.
        asset: Key of the asset.
        source: Its address or path.
        index: Place in the file, from 1.
        scale: ``physical = raw * scale + offset``, where the item says so.
        offset: See ``scale``.
        nodata: Raw number without data, where the item says so.
    """

    band: Band
    asset: str
    source: str
    index: int
    scale: float | None
    offset: float | None
    nodata: float | None


def is_stac(source: str | Path) -> bool:
    """Return whether a source is a STAC document, or an item in one (``file.json#id``)."""
    text = str(source).partition("#")[0]
    is_address = text.lower().startswith(("http://", "https://"))
    path = urlsplit(text).path if is_address else text
    if path.lower().endswith((".json", ".geojson")) and not text.startswith("<"):
        return True
    return is_address and _ITEM_ADDRESS.search(path) is not None


def item_sources(source: str | Path) -> list[str]:
    """Return the source of each item in a document: its address with ``#`` and the item's id.

    Raises:
        SceneError: It is unavailable, or is no STAC document with items.
    """
    text = str(source)
    if "#" in text:
        return [text]
    return [f"{place}#{item['id']}" for place, item in _items(text)]


def read_item(source: str) -> tuple[str, dict[str, Any]]:
    """Return an item, and the address that its relative links start from.

    Args:
        source: The document, with ``#`` and the item's id where it holds several.

    Raises:
        SceneError: It is unavailable, or does not hold that item.
    """
    document, _, wanted = source.partition("#")
    found = [(place, item) for place, item in _items(document) if wanted in ("", item["id"])]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(item["id"] for _, item in found[:5])
    if not found:
        raise SceneError(f"{without_query(document)} holds no item {wanted!r}; check the name")
    raise SceneError(
        f"{without_query(document)} holds {len(found)} items ({ids}); name one: {document}#ID"
    )


def _items(document: str) -> Iterator[tuple[str, dict[str, Any]]]:
    tree = _read_json(document)
    kind = tree.get("type") if isinstance(tree, dict) else None
    if kind == "FeatureCollection":
        items = tree.get("features", [])
    elif kind == "Feature":
        items = [tree]
    elif kind in ("Catalog", "Collection"):
        links = [link["href"] for link in tree.get("links", []) if link.get("rel") == "item"]
        for href in links:
            yield from _items(resolved(href, document))
        items = []
        if links:
            return
    else:
        items = []
    if not items:
        raise SceneError(
            f"{without_query(document)} is no STAC item and holds none; give an item, a "
            f"collection of items or a catalog with links to items"
        )
    for item in items:
        if not isinstance(item.get("id"), str) or not isinstance(item.get("assets"), dict):
            raise SceneError(f"{without_query(document)} is no STAC item: it lacks id or assets")
        yield document, item


def resolved(href: str, document: str) -> str:
    """Return where a link leads, from the document in which it stands."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|/vsi", href):
        return unquote(href.removeprefix("file://")) if href.startswith("file://") else href
    if "://" in document:
        return urljoin(document, href)
    folder = Path(document).expanduser().absolute().parent
    literal = folder / href  # some items are not percent-encoded
    return str((literal if literal.exists() else folder / unquote(href)).resolve())


def item_bands(document: str, item: Mapping[str, Any]) -> tuple[list[ItemBand], Sensor | None]:
    """Return the spectral bands of an item, each once, and the sensor that they are of.

    Of several assets with one band that is taken which is a GeoTIFF, holds it alone, or has the
    finest pixels, in this order. Pictures for people are left out.
    """
    sensor = _sensor(item)
    found: dict[str, ItemBand] = {}
    assets = [(key, asset) for key, asset in item["assets"].items() if _is_raster(asset)]
    for key, asset in sorted(assets, key=lambda entry: _preference(entry[1])):
        source = resolved(asset["href"], document)
        for index, described in enumerate(_described_bands(asset), 1):
            band = _band(described, sensor)
            if band is not None and loose_key(band.name) not in found:
                number = {
                    name: _number(described.get(f"raster:{name}", described.get(name)))
                    for name in ("scale", "offset", "nodata")
                }
                if _is_offset_applied(item) and number["scale"] is not None:
                    number["offset"] = 0.0
                found[loose_key(band.name)] = ItemBand(band, key, source, index, **number)
    order = {asset: place for place, asset in enumerate(item["assets"])}
    bands = sorted(found.values(), key=lambda band: (order[band.asset], band.index))
    known = sensor is not None and all(band.band in sensor.bands for band in bands)
    return bands, sensor if known else None


def single_asset(document: str, item: Mapping[str, Any]) -> str | None:
    """Return the only raster of an item that does not describe its bands; none: not just one."""
    rasters = [asset for asset in item["assets"].values() if _is_raster(asset)]
    data = [asset for asset in rasters if "data" in asset.get("roles", [])] or rasters
    return resolved(data[0]["href"], document) if len(data) == 1 else None


def _is_raster(asset: Mapping[str, Any]) -> bool:
    if _OTHER_ROLES & set(asset.get("roles") or []):
        return False
    ending = urlsplit(asset["href"]).path.lower().endswith(_RASTER_ENDINGS)
    media = asset.get("type") or ""
    return bool(_RASTER_TYPES.search(media)) and (ending or bool(media))


def _preference(asset: Mapping[str, Any]) -> tuple[bool, bool, float]:
    is_tiff = "tif" in (asset.get("type") or asset["href"]).lower()
    return not is_tiff, len(_described_bands(asset)) > 1, float(asset.get("gsd") or 0)


def _described_bands(asset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what an asset says of each band: STAC 1.1's ``bands``, else those of extensions."""
    common = {
        key: value
        for key, value in asset.items()
        if key.startswith(("eo:", "raster:")) or key == "nodata"
    }
    if asset.get("bands"):
        return [{**common, **band} for band in asset["bands"]]
    eo, raster = (asset.get(f"{name}:bands") or [] for name in ("eo", "raster"))
    if not eo:
        return []
    raster = [*raster, *[{}] * (len(eo) - len(raster))]
    keys = ("scale", "offset", "nodata")
    return [
        {
            "name": spectral.get("name"),
            **{f"eo:{k}": v for k, v in spectral.items() if k != "name"},
            **{k: pixels[k] for k in keys if k in pixels},
        }
        for spectral, pixels in zip(eo, raster, strict=False)
    ]


def _band(described: Mapping[str, Any], sensor: Sensor | None) -> Band | None:
    """Return the band that an entry describes; none if it states nothing spectral."""
    name, common = described.get("name"), described.get("eo:common_name")
    centre = _number(described.get("eo:center_wavelength"))
    width = _number(described.get("eo:full_width_half_max"))
    if sensor is not None:
        keys = {loose_key(str(name))} if name else set()
        fits = [band for band in sensor.bands if loose_key(band.name) in keys]
        fits = fits or [b for b in sensor.bands if common is not None and b.common_name == common]
        if len(fits) != 1 and centre is not None:
            fits = [
                band
                for band in sensor.bands
                if band.wavelength_nm is not None
                and abs(band.wavelength_nm - 1000 * centre) <= _NEAR_NM
            ]
        if len(fits) == 1:
            return fits[0]
    if common is None and centre is None and loose_key(str(name or "")) not in COMMON_NAMES:
        return None
    known = common if common in COMMON_NAMES else None
    if not (name or common) and centre is not None:
        name = wavelength_names([1000.0 * centre])[0]
    centre_nm, width_nm = (None if um is None else 1000.0 * um for um in (centre, width))
    return Band(str(name or common), known, centre_nm, width_nm=width_nm)


def _sensor(item: Mapping[str, Any]) -> Sensor | None:
    properties = item.get("properties", {})
    described = [properties.get(key) for key in ("constellation", "platform", "s2:product_type")]
    text = " ".join(str(word) for word in [*described, item.get("collection", "")] if word).lower()
    if "sentinel-2" in text:
        is_l1c = "l1c" in text or "msi1c" in text
        return load_sensor("sentinel2_l1c" if is_l1c else "sentinel2_l2a")
    if re.search(r"landsat-?_?[89]", text):
        return load_sensor("landsat_oli")
    if re.search(r"landsat-?_?7", text):
        return load_sensor("landsat_etm")
    return load_sensor("landsat_tm") if re.search(r"landsat-?_?[45]", text) else None


def _is_offset_applied(item: Mapping[str, Any]) -> bool:
    """Return whether offsets have been added to the pixels, whatever the bands still state."""
    return item.get("properties", {}).get("earthsearch:boa_offset_applied") is True


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)  # STAC writes NaN and infinities as text
    except (TypeError, ValueError):
        return None


def _read_json(document: str) -> Any:
    try:
        if "://" not in document:
            return json.loads(read_text(Path(document).expanduser()))
        if not document.lower().startswith(("http://", "https://")):
            raise SceneUnreachableError(document, "STAC documents are read from files and https")
        return json.loads(_fetched(document))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise SceneNotFoundError(document) from None
    except (OSError, ValueError) as error:
        raise SceneError(
            f"cannot read {without_query(document)} as JSON ({one_line(error)}); is it complete?"
        ) from error


def _fetched(address: str) -> bytes:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    again = Retry(total=_RETRIES, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=again))
        session.mount("https://", HTTPAdapter(max_retries=again))
        try:
            answer = session.get(address, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            reason = f"{one_line(error)[:200]}; check the address and the network"
            raise SceneUnreachableError(without_query(address), reason) from error
    if answer.status_code in (404, 410):
        raise SceneNotFoundError(without_query(address))
    if not answer.ok:
        reason = f"the server answers with {answer.status_code} {answer.reason}; check the access"
        raise SceneUnreachableError(without_query(address), reason)
    return answer.content
