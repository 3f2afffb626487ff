"""Finished maps as cloud-optimised GeoTIFFs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import rasterio.shutil

from rsmeta.geo.handles import open_quietly

if TYPE_CHECKING:
    from pathlib import Path

Overviews = Literal["mode", "average", "nearest"]

#: Side of the tiles inside the file, and what is taken instead where that would mislead.
COG_TILE_PX = (512, 384)


def publish_cog(partial: Path, finished: Path, *, overviews: Overviews) -> None:
    """Write a raster as a cloud-optimised GeoTIFF with all that it carries.

    Colour table, nodata, tags and band descriptions are kept.

    Args:
        partial: Any raster that is complete.
        finished: The file to write.
        overviews: How pixels are merged in overviews: ``mode`` for classes, ``average`` for
            quantities.

    Raises:
        Exception: One of ``rsmeta.geo.handles.GDAL_ERRORS``: reading or writing fails.

    Source: OGC 21-026, Cloud Optimized GeoTIFF Standard; GDAL's COG driver.
    """
    with open_quietly(partial) as dataset:
        # Differences of neighbours compress better than smooth numbers, and worse than codes.
        smooth = overviews == "average" and np.dtype(dataset.dtypes[0]).itemsize > 1
        rasterio.shutil.copy(
            dataset,
            finished,
            driver="COG",
            compress="deflate",
            predictor="yes" if smooth else "no",
            blocksize=_tile_px(dataset.width),
            # A single column cannot be halved: readers measure overviews by their width.
            overviews="none" if dataset.width == 1 else "auto",
            overview_resampling=overviews,
            bigtiff="if_safer",
            num_threads="all_cpus",
            sparse_ok=True,  # what no block holds takes no room
        )


def _tile_px(width_px: int) -> int:
    """Return the side of the tiles; some readers take a tile as wide as its image for a strip."""
    widths = {-(-width_px // 2**level) for level in range(32)}  # of the image and its overviews
    return next(side for side in COG_TILE_PX if side not in widths)
