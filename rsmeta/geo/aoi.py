"""An area of interest: polygons of any CRS, laid over grids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import rasterio.features
import shapely

from rsmeta.errors import AoiError
from rsmeta.geo.footprint import outline
from rsmeta.geo.polygons import VectorFile

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.geo.grid import Grid


@dataclass(frozen=True, eq=False)
class Aoi:
    """An area of interest: polygons in the CRS of a grid.

    Args:
        polygons: The polygons, valid, (N,).
        source: Where they came from.
    """

    polygons: np.ndarray
    source: str

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.polygons)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of all, in CRS units."""
        left, bottom, right, top = shapely.total_bounds(self.polygons)
        return float(left), float(bottom), float(right), float(top)

    @property
    def sha256(self) -> str:
        """Hash of the polygons as they lie."""
        return hashlib.sha256(b"".join(shapely.to_wkb(self.polygons))).hexdigest()

    def meets(self, grid: Grid) -> bool:
        """Return false only where no pixel of a grid can lie inside."""
        return len(self._tree.query(outline(grid), predicate="intersects")) > 0

    def inside(self, grid: Grid) -> np.ndarray:
        """Return which pixels of a grid have their centre inside, (h, w) bool."""
        near = self._tree.query(outline(grid))
        burnt = np.zeros(grid.shape, dtype=np.uint8)
        if len(near):
            shapes = [(self.polygons[i], 1) for i in np.sort(near)]
            rasterio.features.rasterize(shapes, out=burnt, transform=grid.transform)
        return burnt > 0


def read_aoi(place: str | Path, grid: Grid, *, may_miss: bool = False) -> Aoi:
    """Read the polygons of a vector file as the area of interest of a grid.

    Args:
        place: The file; ``FILE|layername=NAME`` names a layer.
        grid: The grid.
        may_miss: Take polygons too that do not meet the grid.

    Raises:
        AoiError: The file cannot be read, holds no polygon, has no CRS where the grid has one,
            or does not meet the grid.
    """
    frame = VectorFile(place, error=AoiError).read_onto(grid)
    aoi = Aoi(frame.geometry.to_numpy(), str(place))
    if not (may_miss or aoi.meets(grid)):
        raise AoiError(f"the polygons {place} do not meet the scene; check the file and its CRS")
    return aoi
