"""The raw numbers of a raster: their type, and which of them mean that there are no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import MaskFlags

from rsmeta.errors import SceneError, SceneUnreadableError
from rsmeta.geo import metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.rules import ReadRules
    from rsmeta.geo.sensors import Sensor


def raw_type(dataset: Any, source: str) -> str:
    """Return the NumPy type that holds the numbers of all bands."""
    if dataset.count == 0:
        inside = dataset.subdatasets
        fix = f"name one of its {len(inside)} parts, e.g. {inside[0]}" if inside else "it is empty"
        raise SceneUnreadableError(source, f"it has no bands of its own; {fix}")
    if any("complex" in name for name in dataset.dtypes):
        raise SceneError(
            f"{source} holds complex numbers ({dataset.dtypes[0]}); convert them to intensity first"
        )
    return np.result_type(*dataset.dtypes).name


def raw_nodata(
    dataset: Any, index: int, sensor: Sensor | None, dtype: str, rules: ReadRules
) -> tuple[float, ...]:
    """Return the raw value without data: the user's, the file's, else that of the product.

    A file of the product's kind of numbers that neither names a value nor has a mask of any kind
    is taken for the product itself.
    """
    stated = dataset.nodatavals[index - 1] if rules.nodata is None else rules.nodata
    if stated is not None:
        return (float(stated),)
    is_bare = MaskFlags.all_valid in dataset.mask_flag_enums[index - 1]
    known = sensor is not None and sensor.nodata is not None and metadata.is_product(sensor, dtype)
    return (sensor.nodata,) if known and is_bare else ()  # type: ignore[union-attr,return-value]


def has_mask(flags: Sequence[MaskFlags]) -> bool:
    """Return whether a band has a mask that neither its nodata value nor alpha makes."""
    return not {MaskFlags.all_valid, MaskFlags.alpha} & set(flags) and list(flags) != [
        MaskFlags.nodata
    ]


def occurs(value: float, dtype: np.dtype[Any]) -> bool:
    """Return whether a type can hold a number other than by rounding it."""
    if np.issubdtype(dtype, np.floating):
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max and value == int(value))
