"""Metrics: how well maps and labels of images agree with their reference."""

from __future__ import annotations

from rsmeta.metrics.classification import (
    ClassAccuracy,
    ClassificationMetrics,
    ClassificationResult,
    groups_by_count,
)
from rsmeta.metrics.multilabel import LabelScores, MultilabelMetrics, MultilabelResult
from rsmeta.metrics.regression import RegressionMetrics, RegressionResult
from rsmeta.metrics.segmentation import ClassScores, SegmentationMetrics, SegmentationResult

__all__ = [
    "ClassAccuracy",
    "ClassScores",
    "ClassificationMetrics",
    "ClassificationResult",
    "LabelScores",
    "MultilabelMetrics",
    "MultilabelResult",
    "RegressionMetrics",
    "RegressionResult",
    "SegmentationMetrics",
    "SegmentationResult",
    "groups_by_count",
]
