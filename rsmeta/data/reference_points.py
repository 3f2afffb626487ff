"""Reference points: one place each, with the class that somebody saw there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from rsmeta.data.polygon_labels import (
    class_column,
    class_of_each,
)
from rsmeta.errors import LabelsError
from rsmeta.geo.polygons import POINTS, VectorFile
from rsmeta.geo.reprojection import cells_onto_grid

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.data.label_reader import LabelRules
    from rsmeta.geo.grid import Grid

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferencePoints:
    """Reference points on the grid of a map.

    Attributes:
        cols: Column of the pixel that holds each point, (N,) int64; may lie outside the grid.
        rows: Its row likewise.
        classes: Class index of each point, (N,) int64.
        unlabelled: Number of points without a class, which are left out.
    """

    cols: np.ndarray
    rows: np.ndarray
    classes: np.ndarray
    unlabelled: int


def holds_reference_points(path: Path, layer: str | None = None) -> bool:
    """Return whether a file is a vector file of points alone.

    Raises:
        LabelsError: It is a vector file and cannot be read.
    """
    file = VectorFile(path, layer, error=LabelsError)
    if not (file.is_vector and file.path.exists()):
        return False
    kinds = set(file.read().geom_type)
    return bool(kinds) and kinds <= POINTS


def read_reference_points(path: Path, grid: Grid, rules: LabelRules) -> ReferencePoints:
    """Read the points of a vector file onto the grid of a map, from any CRS.

    Raises:
        LabelsError: The file has no CRS, lacks the class column, holds a value that is no class,
            or none of its points has a class.
    """
    frame = VectorFile(path, rules.layer, error=LabelsError).read().explode(ignore_index=True)
    if (frame.crs is None) != (grid.crs is None):
        which = path if frame.crs is None else "the map"
        raise LabelsError(f"{which} has no CRS, so {path} cannot be laid over the map; add one")
    column = class_column(path, frame, rules)
    classes = class_of_each(path, frame[column], rules)
    labelled = classes >= 0
    if not labelled.any():
        raise LabelsError(f"no point of {path} has a class in the column {column!r}; fill it in")
    unlabelled = int((~labelled).sum())
    if unlabelled:
        logger.warning("%s: %d of %d points have no class and are left out",
                       path, unlabelled, len(frame))  # fmt: skip
    places = shapely.get_coordinates(frame.geometry.to_numpy())
    cols, rows = cells_onto_grid(places, frame.crs, grid)
    # places that the map projection does not reach come back as infinite
    known = labelled & np.isfinite(cols) & np.isfinite(rows)
    cols, rows = cols[known].astype(np.int64), rows[known].astype(np.int64)
    return ReferencePoints(cols, rows, classes[known], unlabelled)
