"""Metrics: how well maps and labels of images agree with their reference."""

from __future__ import annotations

from rsmeta.metrics.classification import (
    ClassAccuracy,
    ClassificationMetrics,
    ClassificationResult,
    groups_by_count,
)
from rsmeta.metrics.map_accuracy import MapAccuracy
from rsmeta.metrics.multilabel import LabelScores, MultilabelMetrics, MultilabelResult
from rsmeta.metrics.regression import RegressionMetrics, RegressionResult
from rsmeta.metrics.sample import SampleEstimates, estimates_from_sample
from rsmeta.metrics.segmentation import ClassScores, SegmentationMetrics, SegmentationResult

__all__ = [
    "ClassAccuracy",
    "ClassScores",
    "ClassificationMetrics",
    "ClassificationResult",
    "LabelScores",
    "MapAccuracy",
    "MultilabelMetrics",
    "MultilabelResult",
    "RegressionMetrics",
    "RegressionResult",
    "SampleEstimates",
    "SegmentationMetrics",
    "SegmentationResult",
    "estimates_from_sample",
    "groups_by_count",
]
