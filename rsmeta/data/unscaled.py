"""A warning for numbers that a product has, where a network expects reflectance."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rsmeta.errors import RsmetaError
from rsmeta.geo.sensors import load_sensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rsmeta.geo.bands import Band

logger = logging.getLogger(__name__)

#: A mean reflectance beyond this is none.
_LARGEST = 5.0


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
