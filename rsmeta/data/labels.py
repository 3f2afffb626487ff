"""Open a label file on a scene's grid, whatever its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsmeta.data.label_reader import LabelRules
from rsmeta.data.polygon_labels import PolygonLabels
from rsmeta.data.raster_labels import RasterLabels
from rsmeta.errors import LabelsError
from rsmeta.geo.polygons import VectorFile

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.geo.grid import Grid

__all__ = ["LabelRules", "PolygonLabels", "RasterLabels", "open_labels"]


def open_labels(path: Path, grid: Grid, rules: LabelRules) -> RasterLabels | PolygonLabels:
    """Open a label file on a scene's grid: polygons by the file's suffix, else a raster.

    Raises:
        LabelsError: See ``RasterLabels`` and ``PolygonLabels``.
    """
    file = VectorFile(path, error=LabelsError)
    if not file.path.exists():
        raise LabelsError(f"no labels at {path}; check data.root and data.labels")
    if file.is_vector:
        return PolygonLabels(path, grid, rules)
    return RasterLabels(path, grid, rules)
