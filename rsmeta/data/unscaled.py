"""What the numbers of bands are in: raw numbers instead of reflectance, kinds of backscatter."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rsmeta.errors import RsmetaError
from rsmeta.geo.radar import radar_units
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rsmeta.geo.bands import Band

logger = logging.getLogger(__name__)

#: A mean reflectance beyond this is none.
_LARGEST = 5.0


def say_radar_units(bands: Sequence[Band], mean: np.ndarray) -> None:
    """Log whether bands of radar hold decibels, linear backscatter or digital numbers.

    Args:
        bands: The bands.
        mean: Mean of each over the training pixels, (C,), as they are read.
    """
    units = radar_units(bands, mean.tolist())
    kinds = sorted(set(units.values()))
    text = "; ".join(
        f"{', '.join(name for name, unit in units.items() if unit == kind)}: {kind}"
        for kind in kinds
    )
    if len(kinds) > 1:
        logger.warning("bands of radar in different units (%s); convert them to one", text)
    elif kinds:
        logger.info("radar, by its mean: %s; scenes to map must be the same", text)


def warn_if_unscaled(sensor: Any, bands: Sequence[Band], mean: np.ndarray) -> None:
    """Warn where a known sensor's bands hold raw numbers, and say which scaling they need.

    Args:
        sensor: Name, file or mapping of the sensor; none: it is not known.
        bands: The bands.
        mean: Mean of each over the training pixels, (C,), as they are read.
    """
    try:
        product = None if sensor is None else load_sensor(sensor)
    except RsmetaError:  # a name that a scene brought, of a sensor that is not registered here
        return
    if product is None or product.unit != "reflectance":
        return
    for band, value in zip(bands, mean.tolist(), strict=True):
        scale, offset = product.scaling(band)
        is_reflectance = abs(offset) < 1  # not a temperature
        if is_reflectance and value > _LARGEST and -1 < value * scale + offset < _LARGEST:
            fix = f"data.scale={scale:g}" + (f" data.offset={offset:g}" if offset else "")
            logger.warning(
                "band %s of %s has a mean of %.4g, which is no reflectance; set %s if the numbers "
                "are those of the product", band.name, product.name, value, fix,
            )  # fmt: skip
            return
