"""A small picture of a finished map in its colours, for a notebook."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from rsmeta.errors import RsmetaError
from rsmeta.geo.handles import open_raster, reading
from rsmeta.geo.render import colour_classes
from rsmeta.gis.class_map import open_class_map

#: Longest side in pixels.
_LONGEST_PX = 480


def thumbnail(path: str) -> bytes | None:
    """Return a PNG of a map; none where it cannot be read as a raster here.

    Args:
        path: A map of classes or of numbers.
    """
    from matplotlib.image import imsave  # here: maps are drawn without it

    try:
        with reading(path):
            values, valid = _thinned(path)
        classes = _classes(path)
    except RsmetaError:
        return None
    file = io.BytesIO()
    if classes is None:
        numbers = np.ma.masked_array(values, ~valid)
        imsave(file, numbers, cmap="viridis", format="png")
    else:
        picture = colour_classes(classes.to_indices(values), [one.rgb for one in classes.classes])
        imsave(file, picture, format="png")
    return file.getvalue()


def _classes(path: str) -> Any:
    try:
        return open_class_map(path)
    except RsmetaError:  # of numbers
        return None


def _thinned(path: str) -> tuple[np.ndarray, np.ndarray]:
    raster = open_raster(path)
    step = max(1, -(-max(raster.shape) // _LONGEST_PX))
    shape = (-(-raster.height // step), -(-raster.width // step))
    return raster.read(1, out_shape=shape), raster.read_masks(1, out_shape=shape) > 0
