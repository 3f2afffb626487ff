"""Region labels, against those of ``rasterio.features.shapes``."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.features import rasterize, shapes

from rsmeta.gis.labelling import NO_REGION, label_regions

SHAPES = [(1, 1), (1, 17), (19, 1), (23, 31), (40, 40)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("share_valid", [0.0, 0.6, 1.0])
def test_regions_are_those_of_gdal_numbered_by_their_first_pixel(
    shape: tuple[int, int], classes: int, share_valid: float
) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, classes, shape).astype(np.int16)
    valid = rng.random(shape) < share_valid
    count, labels = label_regions(values, valid)
    found = list(shapes(values, mask=valid, connectivity=4))
    expected = np.full(shape, NO_REGION)
    if found:
        numbered = [(polygon, number) for number, (polygon, _) in enumerate(found)]
        expected = rasterize(numbered, out_shape=shape, fill=NO_REGION, dtype="int32")
    assert count == len(found)
    assert ((labels == NO_REGION) == ~valid).all()
    pairs = np.unique(np.stack([labels[valid], expected[valid]]), axis=1)
    assert pairs.shape[1] == count  # one of ours for each of GDAL's
    _, first = np.unique(labels[valid], return_index=True)
    assert (np.diff(first) > 0).all()
