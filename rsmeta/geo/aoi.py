"""An area of interest: polygons of any CRS, laid over grids."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import rasterio.features
import shapely

from rsmeta.errors import AreaError, one_line

if TYPE_CHECKING:
    import geopandas

    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)

#: A side that spans the area gets this many corners before it is projected: straight in one CRS
#: is bent in another.
_CORNERS = 200


@dataclass(frozen=True, eq=False)
class Area:
    """Polygons in the CRS of a grid.

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
        return len(self._tree.query(shapely.box(*grid.bounds))) > 0

    def inside(self, grid: Grid) -> np.ndarray:
        """Return which pixels of a grid have their centre inside, (h, w) bool."""
        near = self._tree.query(shapely.box(*grid.bounds))
        burnt = np.zeros(grid.shape, dtype=np.uint8)
        if len(near):
            shapes = [(self.polygons[i], 1) for i in np.sort(near)]
            rasterio.features.rasterize(shapes, out=burnt, transform=grid.transform)
        return burnt > 0


def read_aoi(path: str | Path, grid: Grid, *, may_miss: bool = False) -> Area:
    """Read the polygons of a vector file into the CRS of a grid.

    Args:
        path: The file.
        grid: The grid to lay them over.
        may_miss: Take polygons too that do not meet the grid.

    Raises:
        AreaError: The file cannot be read, holds no polygon, has no CRS where the grid has one,
            or does not meet the grid.
    """
    path = Path(path)
    frame = _polygons(path)
    if (frame.crs is None) != (grid.crs is None):
        which = path if frame.crs is None else "the scene"
        raise AreaError(f"{which} has no CRS, so {path} cannot be laid over the scene; add one")
    if grid.crs is not None:
        target = pyproj.CRS.from_user_input(grid.crs.to_wkt())
        if frame.crs != target:
            left, bottom, right, top = frame.total_bounds
            step = max(right - left, top - bottom) / _CORNERS
            frame.geometry = shapely.segmentize(frame.geometry.to_numpy(), step)
            frame = frame.to_crs(target)
    polygons = shapely.make_valid(frame.geometry.to_numpy())
    area = Area(polygons[shapely.is_valid(polygons) & ~shapely.is_empty(polygons)], str(path))
    if not (len(area.polygons) and (may_miss or area.meets(grid))):
        raise AreaError(f"the polygons {path} do not meet the scene; check the file and its CRS")
    return area


def _polygons(path: Path) -> geopandas.GeoDataFrame:
    if not path.exists():
        raise AreaError(f"no polygons at {path}; check the path")
    import geopandas  # takes its time, and few maps have a mask

    try:
        read = geopandas.read_parquet if path.suffix.lower() == ".parquet" else None
        frame = geopandas.read_file(path) if read is None else read(path)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise AreaError(f"cannot read {path} as polygons ({one_line(error)})") from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise AreaError(f"{path} holds a table without geometries; give polygons")
    flat = frame.geom_type.isin(["Polygon", "MultiPolygon"]) & ~frame.geometry.is_empty
    if not flat.any():
        raise AreaError(f"{path} holds no polygon; a mask is made of polygons")
    if not flat.all():
        logger.warning("%s: %d geometries are no polygons and are left out", path, (~flat).sum())
    return frame[flat].reset_index(drop=True)
