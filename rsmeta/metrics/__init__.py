"""Metrics: how well a map agrees with its reference."""

from __future__ import annotations

from rsmeta.metrics.segmentation import ClassScores, SegmentationMetrics, SegmentationResult

__all__ = ["ClassScores", "SegmentationMetrics", "SegmentationResult"]
