"""Which of several scenes one label file reaches; the others are left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import shapely

from rsmeta.errors import LabelsError
from rsmeta.geo.footprint import outline
from rsmeta.geo.grid import Grid
from rsmeta.geo.polygons import VectorFile
from rsmeta.geo.reprojection import onto_grid
from rsmeta.workflows.init.polygon_guesses import likely_layer

if TYPE_CHECKING:
    from pathlib import Path

    from rsmeta.workflows.init.inputs import Inputs
    from rsmeta.workflows.init.scene_guesses import SceneGuesses


def reached_by_labels(inputs: Inputs, found: SceneGuesses) -> tuple[Inputs, SceneGuesses]:
    """Return inputs and scenes without those that no label of their one file lies on.

    Where no scene has labels, all stay: reading the labels says what is wrong.

    Raises:
        LabelsError: The labels cannot be read, or only one of labels and scenes has a CRS.
    """
    if len(found.scenes) < 2 or "{stem}" in inputs.labels:
        return inputs, found
    path = inputs.label_file(inputs.scenes[0])
    known = {scene.grid: _reaches(path, scene.grid) for scene in found.scenes}
    kept = [i for i, scene in enumerate(found.scenes) if known[scene.grid]]
    if len(kept) in (0, len(found.scenes)):
        return inputs, found
    return (
        inputs.only([inputs.scenes[i] for i in kept]),
        replace(found, scenes=tuple(found.scenes[i] for i in kept)),
    )


def _reaches(path: Path, grid: Grid) -> bool:
    """Return whether any label may lie on a grid."""
    file = VectorFile(path, error=LabelsError)
    if file.is_vector:
        layer, _ = likely_layer(path)
        frame = VectorFile(path, layer, error=LabelsError).read_labels_onto(grid)
        return bool(frame.intersects(outline(grid)).any())
    try:
        with rasterio.open(path) as raster:
            own = Grid(raster.crs or None, raster.transform, raster.height, raster.width)
    except rasterio.errors.RasterioError:
        return True  # reading it says what is wrong
    if (own.crs is None) != (grid.crs is None):
        return True
    there = onto_grid(np.array([outline(own)]), own.crs, grid)[0]
    return bool(shapely.intersection(outline(grid), there).area > 0)
