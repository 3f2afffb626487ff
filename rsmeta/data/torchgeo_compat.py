"""The one place that imports TorchGeo; its API moves between 0.8 and 0.10.

What differs is levelled here:

- 0.8 returns ``crs`` and ``bounds`` objects in a sample, 0.10 tensors only, and its collation
  stacks whatever it finds. Our datasets return tensors only, which both collate.
- 0.10 calls the argument of ``__getitem__`` ``index``, 0.8 ``query``; ours takes it by position.
- importing TorchGeo warns (pkg_resources, deprecated samplers); that is not the user's concern.

Source: torchgeo 0.8.1 and 0.10 ``torchgeo/datasets/geo.py``, ``torchgeo/datasets/utils.py``.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import geopandas
import pandas
import pyproj
import shapely

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchgeo.datasets
    from torchgeo.datasets import IntersectionDataset, RasterDataset, VectorDataset, stack_samples
    from torchgeo.datasets.errors import DatasetNotFoundError, DependencyNotFoundError
    from torchgeo.datasets.utils import GeoSlice

if TYPE_CHECKING:
    from datetime import datetime

    from rsmeta.geo.grid import Grid

__all__ = [
    "NOT_FOUND_ERRORS",
    "GeoSlice",
    "IntersectionDataset",
    "RasterDataset",
    "VectorDataset",
    "dataset_class",
    "footprint_index",
    "geo_slice",
    "stack_samples",
    "target_of",
]

#: What TorchGeo raises where a dataset, or a package that it needs, is not there.
NOT_FOUND_ERRORS = (DatasetNotFoundError, DependencyNotFoundError)


def footprint_index(grid: Grid, acquired: datetime | None, source: str) -> geopandas.GeoDataFrame:
    """Return the one-row spatio-temporal index that TorchGeo keeps for a file.

    Args:
        grid: Georeferencing of the file; without a CRS the index has none either.
        acquired: When it was taken; unknown: all of time.
        source: Path of the file.
    """
    start, stop = pandas.Timestamp.min, pandas.Timestamp.max
    if acquired is not None:  # TorchGeo compares times without a zone
        start = stop = pandas.Timestamp(acquired.replace(tzinfo=None)).as_unit("ns")
    interval = pandas.IntervalIndex.from_tuples([(start, stop)], closed="both", name="datetime")
    crs = None if grid.crs is None else pyproj.CRS.from_user_input(grid.crs.to_wkt())
    return geopandas.GeoDataFrame(
        {"filepath": [source]}, index=interval, geometry=[shapely.box(*grid.bounds)], crs=crs
    )


def geo_slice(grid: Grid) -> tuple[slice, slice]:
    """Return TorchGeo's query for the area that ``grid`` covers."""
    left, bottom, right, top = grid.bounds
    x_size, y_size = grid.pixel_size
    return slice(left, right, x_size), slice(bottom, top, y_size)


def dataset_class(name: str) -> Any:
    """Return TorchGeo's class of that name; names come from ``rsmeta.config.torchgeo`` only."""
    return getattr(torchgeo.datasets, name)


def target_of(dataset: Any, index: int) -> Any:
    """Return an image's labels of a dataset that has no public way to them but its pixels."""
    return dataset._load_target(index)  # noqa: SLF001


def query_bounds(dataset: Any, query: GeoSlice) -> tuple[float, float, float, float]:
    """Return (left, bottom, right, top) of a query, open ends filled from the dataset."""
    x, y, _ = dataset._disambiguate_slice(query)  # noqa: SLF001 TorchGeo has no public way
    return x.start, y.start, x.stop, y.stop
