"""Labels that are numbers: a raster of biomass, height or moisture on the scene's grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.label_index import labelled_values
from rsmeta.data.label_reader import LabelRules
from rsmeta.data.raster_labels import RasterLabels, equals
from rsmeta.errors import LabelsError
from rsmeta.geo.polygons import VectorFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rsmeta.config.data import TargetSpec
    from rsmeta.data.chips import LabelledScene
    from rsmeta.geo.grid import Grid


class QuantityLabels(RasterLabels):
    """A raster of numbers on a scene's grid; one on another grid is warped by nearest neighbour.

    Args:
        path: The raster, one band.
        grid: Grid of the scene that it labels.
        target: How its values become the quantity.
        ignore: Values that mean "not known", beside the raster's own nodata value and NaN.

    Raises:
        LabelsError: The file cannot be read, or does not overlap the scene.
    """

    def __init__(
        self, path: Path, grid: Grid, target: TargetSpec, ignore: Sequence[float] = ()
    ) -> None:
        unknown = (*ignore, *(() if target.nodata is None else (target.nodata,)))
        super().__init__(path, grid, LabelRules((), unknown))
        self._target = target

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return 0 where there is a number, ``IGNORE`` elsewhere."""
        return np.where(np.isfinite(labels), 0, -1)

    def _to_labels(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        for unknown in self._rules.ignore:
            known = known & ~equals(values, unknown)
        quantity = values.astype(np.float32) * self._target.scale + self._target.offset
        return np.where(known, quantity, np.nan).astype(np.float32)


def open_quantity(
    path: Path, grid: Grid, target: TargetSpec, ignore: Sequence[float] = ()
) -> QuantityLabels:
    """Open a raster of numbers on a scene's grid; arguments as those of ``QuantityLabels``.

    Raises:
        LabelsError: There is none, it holds polygons, or it cannot be read.
    """
    if not path.exists():
        raise LabelsError(f"no labels at {path}; check data.root and data.labels")
    if VectorFile(path, error=LabelsError).is_vector:
        raise LabelsError(f"{path} holds polygons; for data.target give a raster of {target.name}")
    return QuantityLabels(path, grid, target, ignore)


def target_statistics(scenes: Sequence[LabelledScene]) -> tuple[float, float]:
    """Measure the labels of the training part.

    Args:
        scenes: The training part, regions included; their labels are numbers.

    Returns:
        Mean and standard deviation, in the labels' unit.

    Raises:
        LabelsError: All labels are equal.
    """
    count, mean, squares = 0, 0.0, 0.0
    for part in scenes:
        for found in labelled_values(part):
            values = found.astype(np.float64)
            here, total = values.mean(), count + len(values)
            # Chan et al. 1983: no large sums are subtracted from one another.
            squares += ((values - here) ** 2).sum()
            squares += (here - mean) ** 2 * count * len(values) / total
            mean += (here - mean) * len(values) / total
            count = total
    std = math.sqrt(squares / max(count, 1))
    if not std > 1e-9 * max(abs(mean), 1e-30):
        raise LabelsError(f"all {count} training labels are {mean:g}; there is nothing to learn")
    return float(mean), std
