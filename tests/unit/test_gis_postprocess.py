"""Majority filter and sieve: what they give, whatever strips they work in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

import rsmeta
from rsmeta.gis.postprocess.class_store import ClassStore
from rsmeta.gis.postprocess.majority import majority
from rsmeta.gis.postprocess.sieve import sieve

if TYPE_CHECKING:
    from pathlib import Path


def sieved(
    folder: Path, values: list[list[int]] | np.ndarray, least: int, *, strip: int = 10**6
) -> np.ndarray:
    array = np.array(values, dtype=np.int16)
    store = ClassStore(folder / "store", array.shape)
    store.write(0, array)
    sieve(store, least, strip_px=strip)
    return store.read(0, len(array))


def region_sizes(values: np.ndarray) -> list[int]:
    sizes: list[int] = []
    for k in np.unique(values[values >= 0]):
        labels, count = ndimage.label(values == k)
        sizes += np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist()
    return sizes


def some_map(seed: int, shape: tuple[int, int] = (61, 47)) -> np.ndarray:
    """A map of smooth patches with speckle and holes."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), 3) for _ in range(4)]
    values = np.argmax(fields, axis=0).astype(np.int16)
    speckle = rng.random(shape) < 0.12
    values[speckle] = rng.integers(0, 4, speckle.sum())
    values[ndimage.gaussian_filter(rng.normal(size=shape), 4) > 0.07] = -1
    return values


def test_postprocess_is_found_under_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"use rsmeta\.Postprocess"):
        old = rsmeta.Refinement
    assert old is rsmeta.Postprocess


def test_a_small_region_goes_to_its_largest_neighbour(tmp_path: Path) -> None:
    values = [
        [0, 0, 0, 1, 1],
        [0, 2, 0, 1, 1],
        [0, 2, 2, 1, 1],
        [0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1],
    ]
    assert (sieved(tmp_path, values, 3) == values).all()
    result = sieved(tmp_path, values, 4)
    assert set(np.unique(result)) == {0, 1}
    assert (result[:, :3] == 0).all()  # 12 pixels against 10


def test_corners_do_not_join_and_nodata_stays(tmp_path: Path) -> None:
    values = [
        [1, -1, 0, 0],
        [-1, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    expected = [
        [1, -1, 0, 0],  # an island: it has no neighbour
        [-1, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert sieved(tmp_path, values, 3).tolist() == expected


def test_small_regions_among_small_ones_grow_together(tmp_path: Path) -> None:
    """Speckle of which nothing is large enough becomes what there is most of."""
    values = [[1, 2, 1, 2, 2, 3, 4, 3, 4, 3]]
    result = sieved(tmp_path, values, 5)
    assert min(region_sizes(result)) >= 5
    assert (result >= 0).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("least", [2, 6, 40])
def test_the_sieve_leaves_no_small_region_and_knows_no_strips(
    tmp_path: Path, seed: int, least: int
) -> None:
    values = some_map(seed)
    whole = sieved(tmp_path, values, least)
    for strip in (1, 47 * 2, 47 * 7, 47 * 60):
        assert (sieved(tmp_path, values, least, strip=strip) == whole).all()
    assert ((whole < 0) == (values < 0)).all()
    patches, count = ndimage.label(values >= 0)
    for patch in range(1, count + 1):  # a piece of mapped ground that is itself too small stays one
        inside = np.where(patches == patch, whole, -1)
        sizes = region_sizes(inside)
        assert min(sizes) >= least or len(sizes) == 1
    labels, _ = ndimage.label(values == 0)
    large = np.isin(labels, np.flatnonzero(np.bincount(labels.ravel()) >= least)) & (labels > 0)
    assert (whole[large] == 0).all()  # what is large enough is left alone


def test_a_map_without_classes_and_one_of_one_pixel(tmp_path: Path) -> None:
    assert sieved(tmp_path, [[-1, -1], [-1, -1]], 5).tolist() == [[-1, -1], [-1, -1]]
    assert sieved(tmp_path, [[3]], 5).tolist() == [[3]]


def test_majority_against_plain_counting() -> None:
    values = some_map(7, (23, 19))
    for side in (3, 5):
        half = side // 2
        result = majority(values, side)
        for row, col in np.ndindex(*values.shape):
            around = values[
                max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1
            ]
            own = values[row, col]
            if own < 0:
                assert result[row, col] == -1
                continue
            counts = np.bincount(around[around >= 0], minlength=4)
            expected = own if counts[own] == counts.max() else counts.argmax()
            assert result[row, col] == expected


def test_majority_of_rows_with_their_surroundings_is_that_of_the_whole() -> None:
    values = some_map(3)
    whole = majority(values, 5)
    padded = np.pad(values, ((2, 2), (0, 0)), constant_values=-1)
    parts = [majority(padded[top : top + 7 + 4], 5)[2:-2] for top in range(0, len(values) - 4, 7)]
    assert (np.concatenate(parts)[: len(values) - 5] == whole[: len(values) - 5]).all()
