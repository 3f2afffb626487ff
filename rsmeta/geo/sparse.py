"""Where a sparse raster holds anything at all, without reading pixels."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from rasterio.windows import Window, intersect

from rsmeta.geo.grid import whole_pixels
from rsmeta.geo.handles import open_raster, read_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.geo.scene import Scene


def may_hold_data(scene: Scene, window: Window) -> bool:
    """Return false only where a window is certainly without a valid pixel.

    A sparse GeoTIFF stores nothing for a tile that was never written; such a tile reads as its
    nodata value, or as 0.

    Args:
        scene: The scene; any other format may hold data everywhere.
        window: Whole pixels, which may reach over the edges.

    Raises:
        SceneUnreadableError: The file cannot be opened.

    Source: metadata domain ``TIFF`` of GDAL's GeoTIFF driver, item ``BLOCK_OFFSET``.
    """
    if not intersect(window, scene.grid.full_window):
        return False
    if open_raster(scene.source).driver != "GTiff":
        return True
    inside = window.intersection(scene.grid.full_window)

    def told_by(dataset: Any) -> bool:
        held = (
            not _unwritten_is_invalid(dataset, index, nodata) or _is_stored(dataset, index, inside)
            for index, nodata in zip(scene.band_indexes, scene.nodata, strict=True)
        )
        return all(held) if scene.valid_if == "all" else any(held)

    return read_from(scene.source, told_by)


def _unwritten_is_invalid(dataset: Any, index: int, nodata: Sequence[float]) -> bool:
    stated = dataset.nodatavals[index - 1]
    return (0 if stated is None else stated) in nodata


def _is_stored(dataset: Any, index: int, window: Window) -> bool:
    row, col, height, width = whole_pixels(window)
    side_y, side_x = dataset.block_shapes[index - 1]
    rows = range(row // side_y, (row + height - 1) // side_y + 1)
    cols = range(col // side_x, (col + width - 1) // side_x + 1)
    return any(
        dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=index) is not None
        for y, x in product(rows, cols)
    )
