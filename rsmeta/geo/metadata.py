"""What a raster file's tags say: when it was taken, and what its numbers mean."""

from __future__ import annotations

import logging
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rsmeta.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsmeta.geo.bands import Band
    from rsmeta.geo.sensors import Sensor

logger = logging.getLogger(__name__)

# Tags that hold the time of acquisition, best first. TIFF 6.0 defines its own as the time when
# the file was made, but most who write it mean the image.
_TIMES = (
    "ACQUISITIONDATETIME",
    "DATATAKE_1_DATATAKE_SENSING_START",
    "SENSING_TIME",
    "PRODUCT_START_TIME",
    "DATE_ACQUIRED",
    "ACQUISITION_DATE",
    "DATETIME",
    "START_DATETIME",
    "TIFFTAG_DATETIME",
)

# Prefixes of STAC fields that say something about Sentinel-2.
_STAC_PREFIXES = {"s2", "earthsearch"}

# Sentinel-2 Products Specification Document: since this baseline, reflectance is
# (DN + add offset) / quantification, so that reflectance below 0 is kept.
_FIRST_BASELINE_WITH_OFFSET = 4.0
_ADD_OFFSET = -1000.0
_QUANTIFICATION = 10000.0


class Scaling(NamedTuple):
    """``physical = raw * scale + offset``."""

    scale: float
    offset: float


def plain_tags(dataset: Any, band_index: int = 0) -> dict[str, str]:
    """Return a dataset's tags, or a band's (from 1), by upper-case key without STAC prefix."""
    tags = dataset.tags(band_index)
    if band_index == 0:
        tags = {**dataset.tags(ns="IMAGERY"), **tags}
    return dict(_without_prefix(key, str(value)) for key, value in tags.items())


def _without_prefix(key: str, value: str) -> tuple[str, str]:
    # GDAL ends a key at its first colon: "s2:processing_baseline" comes back as the key "s2".
    if key.lower() in _STAC_PREFIXES and "=" in value:
        key, value = value.split("=", 1)
    return key.upper().rsplit(":", 1)[-1], value


def acquired(tags: Mapping[str, str]) -> datetime | None:
    """Return the time of acquisition in UTC, where a tag holds one that can be read."""
    for key in _TIMES:
        text = tags.get(key, "").strip()
        # TIFF writes "2015:07:11 10:00:08", everybody else ISO 8601.
        text = re.sub(r"^(\d{4}):(\d\d):(\d\d)\b", r"\1-\2-\3", text)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            continue
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return None


def is_sentinel2(tags: Mapping[str, str]) -> bool:
    """Return whether tags say that Sentinel-2 took the image."""
    keys = ("SPACECRAFT_NAME", "DATATAKE_1_SPACECRAFT_NAME", "PLATFORM", "CONSTELLATION")
    platforms = " ".join(tags.get(key, "") for key in keys).upper()
    return "SENTINEL-2" in platforms or tags.get("PRODUCT_TYPE", "").startswith("S2MSI")


def file_scaling(dataset: Any, band_index: int) -> Scaling | None:
    """Return the scale and offset that a file states for a band (from 1), if it states any.

    A scale of 0, which would make all numbers one, counts as not stated.
    """
    scale, offset = float(dataset.scales[band_index - 1]), float(dataset.offsets[band_index - 1])
    scale = scale if scale and math.isfinite(scale) else 1.0
    offset = offset if math.isfinite(offset) else 0.0
    return None if (scale, offset) == (1.0, 0.0) else Scaling(scale, offset)


def sentinel2_scaling(
    tags: Mapping[str, str], band_tags: Mapping[str, str], source: str
) -> Scaling | None:
    """Return what Sentinel-2's metadata say of the numbers; none where they say nothing.

    The offset is the stated BOA_ADD_OFFSET or RADIO_ADD_OFFSET, else -1000 from processing
    baseline 04.00 on, unless the metadata say that it has been applied. The date does not matter:
    old scenes are reprocessed with new baselines.

    Args:
        tags: Tags of the dataset, as of ``plain_tags``.
        band_tags: Tags of the band; they go first.
        source: The file; for messages.

    Raises:
        SceneError: Several offsets are stated and it is not clear which is the band's.
    """
    added = _stated_offset(band_tags, source)
    if added is None:
        added = _stated_offset(tags, source)
    baseline = _baseline(tags.get("PROCESSING_BASELINE", ""), source)
    if added is None and baseline is None:
        return None
    if added is None:
        new = baseline is not None and baseline >= _FIRST_BASELINE_WITH_OFFSET
        added = _ADD_OFFSET if new else 0.0
    if tags.get("BOA_OFFSET_APPLIED", "").lower() in {"true", "1", "yes"}:
        added = 0.0
    quantification = _QUANTIFICATION
    for key in ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"):
        quantification = _number(tags.get(key, "")) or quantification
    return Scaling(1 / quantification, added / quantification)


def sensor_scaling(sensor: Sensor | None, band: Band, dtype: str) -> Scaling | None:
    """Return how the sensor's product is scaled, if numbers of that type can be the product's."""
    if sensor is None or not is_product(sensor, dtype):
        return None
    return Scaling(*sensor.scaling(band))


def is_product(sensor: Sensor, dtype: str) -> bool:
    """Return whether numbers of a type can be those of a sensor's product.

    Any integers can that are wide enough: products are often rewritten as int16 or int32.
    Floating-point numbers are taken for physical values.
    """
    if sensor.dtype is None:
        return False
    own, given = np.dtype(sensor.dtype), np.dtype(dtype)
    whole = np.issubdtype(own, np.integer) and np.issubdtype(given, np.integer)
    return own == given or bool(whole and given.itemsize >= own.itemsize)


def _stated_offset(tags: Mapping[str, str], source: str) -> float | None:
    """Return the one value of BOA_ADD_OFFSET, BOA_ADD_OFFSET_0, RADIO_ADD_OFFSET, …."""
    stated = {
        _number(value)
        for key, value in tags.items()
        if re.fullmatch(r"(BOA|RADIO)_ADD_OFFSET(_\w+)?", key)
    } - {None}
    if len(stated) > 1:
        raise SceneError(
            f"{source} states several add offsets ({', '.join(map(str, stated))}); "
            f"name the one that holds with data.scale=... and data.offset=..."
        )
    return stated.pop() if stated else None


def _baseline(text: str, source: str) -> float | None:
    """Return a processing baseline ("05.09", "N0509", "0509") as a number (5.09)."""
    match = re.fullmatch(r"N?(\d{1,2})\.?(\d{2})", text.strip().upper())
    if match is None:
        if text:
            logger.warning("%s: the processing baseline %r cannot be read", source, text)
        return None
    return int(match[1]) + int(match[2]) / 100


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
