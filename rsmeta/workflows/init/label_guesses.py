"""What labels hold: the classes, the class column of polygons, values that mean "no label"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from rsmeta.config.data import WIDE_NODATA
from rsmeta.errors import LabelsError, enumerate_names, one_line
from rsmeta.geo.polygons import VectorFile
from rsmeta.workflows.init.class_sources import known_classes
from rsmeta.workflows.init.guess import Guess, LabelGuesses
from rsmeta.workflows.init.polygon_guesses import guess_polygons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rsmeta.geo.scene import Scene
    from rsmeta.workflows.init.inputs import Inputs

#: A label raster with more distinct values than this holds numbers, not classes.
MOST_CLASSES = 256
_STEP_PX = 2048


def guess_labels(inputs: Inputs, scenes: Sequence[Scene]) -> LabelGuesses:
    """Guess what labels hold.

    Raises:
        LabelsError: They cannot be read, lie elsewhere, or hold fewer than two classes.
    """
    files = {str(inputs.label_file(scene)): scene for scene in inputs.scenes}
    first = inputs.label_file(inputs.scenes[0])
    if VectorFile(first, error=LabelsError).is_vector:
        return guess_polygons(first, [scene.grid for scene in scenes])
    return _guess_raster([inputs.label_file(scene) for scene in files.values()])


def _guess_raster(files: Sequence[Path]) -> LabelGuesses:
    """Guess the classes of label rasters from all their values."""
    counts: dict[int, int] = {}
    nodata = None
    for file in files:
        own, nodata = _count(file)
        for value, count in own.items():
            counts[value] = counts.get(value, 0) + count
    total = sum(counts.values())
    names, origin = known_classes(files[0], list(counts))
    values = sorted(counts)
    ignored = _ignored(values, names, nodata)
    classes = tuple(
        {"value": value, "name": f"class_{value}", **names.get(value, {})}
        for value in values if value not in ignored
    )  # fmt: skip
    if len(classes) < 2:
        raise LabelsError(
            f"{files[0]} holds the values {enumerate_names([str(v) for v in values]) or 'none'}: "
            f"{len(classes)} class(es), and a model needs two or more"
        )
    guesses = []
    if ignored:
        share = f"{counts[ignored[0]] / total:.0%} of the pixels; "
        why = f"{share}taken for 'no label': if it is a class, add it to classes"
        guesses.append(Guess("ignore", ignored[0], why))
    named = origin or "CHECK: values found in the file, whose meaning it does not say"
    about = f"raster, {total:,} pixels with {len(counts)} values"
    return LabelGuesses(about, tuple(guesses), classes, named)


def _ignored(
    values: Sequence[int], names: Mapping[int, Any], nodata: float | None
) -> tuple[int, ...]:
    """Return which values mean "no label": 0, unless it has a name or leaves a single class."""
    if 0 not in values or 0 in names or nodata is not None:
        return ()
    return (0,) if len(values) > 2 else ()


def _count(file: Path) -> tuple[dict[int, int], float | None]:
    """Return how many pixels have each value, and the file's value without data."""
    counts: dict[int, int] = {}
    try:
        with rasterio.open(file) as raster:
            if raster.count != 1:
                raise LabelsError(f"{file} has {raster.count} bands; a label raster has one")
            for row in range(0, raster.height, _STEP_PX):
                for col in range(0, raster.width, _STEP_PX):
                    window = ((row, min(row + _STEP_PX, raster.height)),
                              (col, min(col + _STEP_PX, raster.width)))  # fmt: skip
                    block = raster.read(1, window=window, masked=True).compressed()
                    _add(file, counts, block)
            return counts, raster.nodata
    except rasterio.errors.RasterioError as error:
        raise LabelsError(
            f"cannot read the labels {file} ({one_line(error)}); labels are rasters, or polygons "
            f"or points as GeoPackage, Shapefile, GeoJSON, FlatGeobuf or GeoParquet"
        ) from error


def _add(file: Path, counts: dict[int, int], block: np.ndarray) -> None:
    """Add the values of a block to those counted so far."""
    block = block[np.isfinite(block)]
    values, found = np.unique(block, return_counts=True)
    if values.size and WIDE_NODATA <= values[-1] < 2**31 and len(values) <= MOST_CLASSES:
        raise LabelsError(
            f"{file} holds {values[-1]:g}; values of classes lie below {WIDE_NODATA}: renumber "
            f"them, or declare the value as nodata"
        )
    if len(values) + len(counts) > 2 * MOST_CLASSES or (values % 1).any() or (values < 0).any():
        raise LabelsError(
            f"{file} holds numbers, not classes (such as {values[-1]:g}); to estimate them, write "
            f"a configuration with task: regression and data.target (see docs/classification.md)"
        )
    for value, count in zip(values.tolist(), found.tolist(), strict=True):
        counts[int(value)] = counts.get(int(value), 0) + count
