"""Compare predictions with reference labels: a bundle on a test part, or a map on labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.bundle import load_bundle
from rsmeta.config import load_settings
from rsmeta.config.data import WIDE_NODATA
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.labels import LabelRules, open_labels
from rsmeta.data.survey import windows
from rsmeta.errors import ConfigError, LabelsError
from rsmeta.geo.scene import ReadRules, open_scene
from rsmeta.gis.products import map_classes
from rsmeta.losses import build_loss
from rsmeta.metrics import SegmentationMetrics
from rsmeta.training.fit import evaluate_part
from rsmeta.training.module import SegmentationModule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.metrics import SegmentationResult

#: Side of the windows that a map is compared in, in pixels.
_STEP_PX = 2048


def evaluate(
    bundle: str | Path,
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> SegmentationResult:
    """Evaluate a bundle on the test part of a configuration.

    Args:
        bundle: The bundle's folder.
        config: YAML file or mapping; its ``data`` section names the test part.
        overrides: ``KEY=VALUE`` strings over the configuration.

    Returns:
        Accuracy, mIoU, macro-F1, scores per class and the confusion matrix.

    Raises:
        RsmetaError: The configuration names no test part, or has other classes than the bundle.
    """
    settings = load_settings(config, overrides)
    loaded = load_bundle(bundle)
    trained = [spec.name for spec in loaded.record.classes]
    named = [spec.name for spec in settings.data.classes]
    if trained != named:
        raise ConfigError(f"the bundle's classes are {trained}, data.classes are {named}")
    bands = tuple(band.band for band in loaded.record.bands)
    data = SceneDataModule(settings.data, seed=settings.seed, bands=bands)
    module = SegmentationModule(
        loaded.network, build_loss(settings.loss, data.class_counts), SegmentationMetrics(named),
        settings,
    )  # fmt: skip
    result: SegmentationResult = evaluate_part(module, data, part="test")
    return result


def evaluate_map(
    path: str | Path,
    reference: str | Path,
    *,
    class_column: str | None = None,
    ignore: Sequence[int] = (),
) -> SegmentationResult:
    """Compare a map that rsmeta wrote with reference labels.

    Args:
        path: The map; its tags name the classes.
        reference: Label raster or polygons, in any CRS.
        class_column: Column of polygons that holds class name or value.
        ignore: Values of the reference that mean "no label".

    Returns:
        Accuracy, mIoU, macro-F1, scores per class and the confusion matrix, over pixels that
        the map and the reference both know.

    Raises:
        SceneError: The map cannot be read, or does not say its classes.
        LabelsError: The reference cannot be read, or shares no pixel with the map.
    """
    classes = map_classes(path)
    rules = ReadRules(bands=("class",), scale=1.0, offset=0.0)
    scene = open_scene(path, rules)
    labels = open_labels(
        Path(reference), scene.grid, LabelRules(classes, tuple(ignore), class_column)
    )
    metrics = SegmentationMetrics([spec.name for spec in classes])
    index_of = np.full(WIDE_NODATA + 1, -1)
    index_of[[spec.value for spec in classes]] = range(len(classes))
    compared = 0
    for window in windows(scene.grid.height_px, scene.grid.width_px, _STEP_PX):
        wanted = labels.read(scene.grid.crop(window))
        if not (wanted >= 0).any():
            continue
        chip = scene.read(window)
        wanted[~chip.valid] = -1
        compared += int((wanted >= 0).sum())
        metrics.update(index_of[chip.data[0].astype(np.int64)], wanted)
    if not compared:
        raise LabelsError(f"{path} and {reference} share no labelled pixel; nothing to compare")
    return metrics.compute()
