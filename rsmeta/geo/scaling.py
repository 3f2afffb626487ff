"""How raw numbers of a file become physical values: whose scale and offset hold."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.geo import metadata
from rsmeta.geo.metadata import Scaling
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsmeta.geo.filebands import FileBands
    from rsmeta.geo.rules import ReadRules
    from rsmeta.geo.sensors import Sensor

logger = logging.getLogger(__name__)


def band_scaling(
    dataset: Any, told: FileBands, dtype: str, rules: ReadRules, fallback: ReadRules
) -> list[Scaling]:
    """Return scale and offset of each band.

    Args:
        dataset: The file, opened.
        told: Its bands.
        dtype: NumPy name of its raw type.
        rules: What the user says about it.
        fallback: What held for other files.
    """
    if rules.scale is not None:
        return [Scaling(rules.scale, rules.offset or 0.0)] * len(told.bands)
    stated = [metadata.file_scaling(dataset, index) for index in told.indexes]
    usual = [metadata.sensor_scaling(told.sensor, band, dtype) for band in told.bands]
    in_metadata = _sentinel2_scaling(dataset, told, dtype)
    product = [own or other for own, other in zip(in_metadata, usual, strict=True)]
    found = []
    for band, in_file, implied in zip(told.bands, stated, product, strict=True):
        if in_file and implied and not np.allclose(in_file, implied):
            logger.warning(
                "%s: band %s is scaled by %g and %g as the file says, though its metadata and "
                "sensor imply %g and %g; data.scale and data.offset can overrule both",
                *(dataset.name, band.name, *in_file, *implied),
            )
        found.append(in_file or implied or Scaling(1.0, 0.0))
    if not (any(stated) or all(in_metadata)) and not _is_another(told.sensor, fallback):
        found = [_filled(scaling, fallback) for scaling in found]
    return found if rules.offset is None else [one._replace(offset=rules.offset) for one in found]


def _sentinel2_scaling(dataset: Any, told: FileBands, dtype: str) -> list[Scaling | None]:
    """Return what Sentinel-2's metadata say of each band; none where they say nothing."""
    tags = metadata.plain_tags(dataset)
    if not (_is_sentinel2(told.sensor, tags) and np.issubdtype(np.dtype(dtype), np.integer)):
        return [None] * len(told.indexes)
    return [
        metadata.sentinel2_scaling(tags, metadata.plain_tags(dataset, index), dataset.name)
        for index in told.indexes
    ]


def _filled(scaling: Scaling, fallback: ReadRules) -> Scaling:
    """Return what held for other files, where anything was said of them."""
    if fallback.scale is not None:
        return Scaling(fallback.scale, fallback.offset or 0.0)
    return scaling if fallback.offset is None else scaling._replace(offset=fallback.offset)


def _is_another(sensor: Sensor | None, fallback: ReadRules) -> bool:
    """Return whether a file is known to be of another sensor than those the rules held for."""
    if sensor is None or fallback.sensor is None:
        return False
    return load_sensor(fallback.sensor).name != sensor.name


def _is_sentinel2(sensor: Sensor | None, tags: Mapping[str, str]) -> bool:
    named = sensor is not None and sensor.name.startswith("sentinel2")
    return named or metadata.is_sentinel2(tags)
