"""Compare a map with reference labels, and draw the sample points for such a reference."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsmeta.data.labels import LabelRules, PolygonLabels, open_labels
from rsmeta.data.reference_points import holds_reference_points, read_reference_points
from rsmeta.errors import ConfigError, LabelsError, SceneError, enumerate_names
from rsmeta.geo.inputs import check_not_an_input, raster_files
from rsmeta.gis.class_map import open_class_map
from rsmeta.gis.sampling import allocate, draw, write_points
from rsmeta.gis.vector.frames import check_features_output
from rsmeta.metrics import SegmentationMetrics
from rsmeta.metrics.map_accuracy import MapAccuracy
from rsmeta.metrics.sample import estimates_from_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.gis.class_map import ClassMap, Cover
    from rsmeta.metrics import SegmentationResult
    from rsmeta.metrics.map_accuracy import ReferenceKind
    from rsmeta.metrics.sample import SampleEstimates

logger = logging.getLogger(__name__)

#: With fewer points in a stratum their spread, and so the interval, is often far too small.
_FEW_POINTS = 10


def evaluate_map(
    path: str | Path,
    reference: str | Path,
    *,
    class_column: str | None = None,
    ignore: Sequence[float | str] = (),
) -> MapAccuracy:
    """Compare a map that rsmeta wrote with a reference.

    Args:
        path: The map; its tags name the classes.
        reference: Label raster, polygons, or points of a stratified random sample; in any CRS.
        class_column: Column of polygons or points that holds the class name or value.
        ignore: Reference values, or names in the class column, that mean "no label".

    Returns:
        Accuracy, mIoU, macro-F1, kappa, scores per class and the confusion matrix over all pixels
        (or points) with a value in both; for points also estimates for the whole map: accuracy and
        areas with standard errors.

    Raises:
        SceneError: The map cannot be read, or has no class tags.
        LabelsError: The reference cannot be read, or shares no labelled pixel with the map.
    """
    class_map = open_class_map(path)
    rules = LabelRules(
        class_map.classes, tuple(ignore), class_column,
        fix="skip it with --ignore 'VALUE'", column_key="--class-column",
    )  # fmt: skip
    names = [spec.name for spec in class_map.classes]
    metrics = SegmentationMetrics(names)
    kind, left_out = _accumulate(class_map, Path(reference), rules, metrics)
    result = metrics.compute()
    if not result.pixels:
        raise LabelsError(
            f"{path} and {reference} share no labelled pixel; check that they cover the same area"
        )
    cover = class_map.cover()
    return MapAccuracy(
        **vars(result), reference=kind, left_out=left_out,
        mapped_pixels=cover.pixels, mapped_areas_m2=cover.areas_m2,
        estimates=_estimates(result, cover, names) if kind == "points" else None,
    )  # fmt: skip


def _accumulate(
    class_map: ClassMap, reference: Path, rules: LabelRules, metrics: SegmentationMetrics
) -> tuple[ReferenceKind, int]:
    """Update the metrics; return the kind of reference and the number of skipped points."""
    if holds_reference_points(reference):
        points = read_reference_points(reference, class_map.grid, rules)
        mapped = class_map.at(points.cols, points.rows)
        metrics.update(mapped, points.classes)
        outside = int((mapped < 0).sum())
        if outside:
            logger.warning("%s: skipped %d of %d points that lie outside the mapped area",
                           reference, outside, len(mapped))  # fmt: skip
        return "points", outside + points.unlabelled
    labels = open_labels(reference, class_map.grid, rules)
    for window in class_map.windows():
        classes = labels.read(window)
        if (classes >= 0).any():
            metrics.update(class_map.read(window), classes)
    return "polygons" if isinstance(labels, PolygonLabels) else "raster", 0


def _estimates(
    result: SegmentationResult, cover: Cover, names: Sequence[str]
) -> SampleEstimates | None:
    areas = cover.areas_m2
    if areas is None:  # no CRS: use shares of pixels
        areas = tuple(pixels / sum(cover.pixels) for pixels in cover.pixels)
    try:
        found = estimates_from_sample(np.array(result.confusion), areas, names)
    except ValueError as error:
        logger.warning("no estimates for the whole map: %s; add points there", error)
        return None
    few = [one.name for one in found.classes if one.mapped_area_m2 and one.samples < _FEW_POINTS]
    if few:
        logger.warning(
            "fewer than %d points lie where the map has %s, so that intervals come out too narrow; "
            "draw 50 or more in each class (--draw-sample)", _FEW_POINTS, enumerate_names(few),
        )  # fmt: skip
    return found


def draw_sample(
    path: str | Path,
    output: str | Path,
    *,
    points: int,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, int]:
    """Draw a stratified random sample of a map, to be labelled and passed to ``evaluate_map``.

    The column ``class`` is left empty, so that the interpreter does not see the mapped class.

    Args:
        path: The map; its classes are the strata.
        output: Vector file to write: .gpkg, .geojson or .fgb.
        points: Total number of points.
        seed: Random seed.
        overwrite: Replace an existing file.

    Returns:
        Number of points in each mapped class.

    Raises:
        SceneError: The map cannot be read, or has no class tags.
        OutputError: The file exists, cannot be written, or has an unsupported suffix.
        ConfigError: ``points`` is not positive.
    """
    if points < 1:
        raise ConfigError(f"cannot draw {points} points; ask for at least 1")
    output = Path(output)
    check_features_output(output, "points", overwrite=overwrite)
    check_not_an_input([output], raster_files(path))
    class_map = open_class_map(path)
    cover = class_map.cover()
    if not any(cover.pixels):
        raise SceneError(f"{path} has no mapped pixel to sample; check the map")
    drawn = draw(class_map, allocate(cover, points), seed=seed)
    write_points(output, class_map.grid, drawn)
    names = [spec.name for spec in class_map.classes]
    return dict(zip(names, drawn.by_class, strict=True))
