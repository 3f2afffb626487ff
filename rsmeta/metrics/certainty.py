"""How far the scores of a few polygons can be trusted.

Pixels of one polygon resemble each other, so that polygons are the sample, not pixels. A class with
a single polygon, or with few pixels, gets no figure; intervals resample whole polygons.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

#: Pixels and polygons that a class needs for figures of its own.
FEWEST_PIXELS, FEWEST_POLYGONS = 10, 2

#: Polygons beyond one per class from which intervals are given.
FEWEST_FREE = 5

_DRAWS = 500


@dataclass(frozen=True)
class Certainty:
    """What qualifies the scores of one part.

    Attributes:
        polygons: Polygons by class; none where labels are no polygons.
        without_figure: Why a class gets no figure, by class.
        interval_95: 95 % confidence intervals of accuracy, miou and macro_f1.
        reason: Why there are no intervals; none where there are.
    """

    polygons: Mapping[str, int] | None
    without_figure: Mapping[str, str]
    interval_95: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the intervals, or null and the reason, as plain values."""
        if self.reason is not None:
            return {"interval_95": None, "interval_reason": self.reason}
        return {"interval_95": {name: list(ends) for name, ends in self.interval_95.items()}}


class PolygonCounts:
    """Counts pixels by polygon, reference class and mapped class.

    Args:
        names: Names of the classes in the order of their indices, K.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        size = len(self._names)
        self._counts: dict[Hashable, np.ndarray] = defaultdict(
            lambda: np.zeros((size, size), np.int64)
        )

    def update(
        self, polygons: Sequence[Hashable], owner: np.ndarray, mapped: np.ndarray, label: np.ndarray
    ) -> None:
        """Add pixels.

        Args:
            polygons: Names of polygons; the same one may come in several scenes.
            owner: Index in ``polygons`` of each pixel, (N,).
            mapped: Mapped class index of each pixel, (N,).
            label: Class index of each pixel's label, (N,).
        """
        for i in np.unique(owner).tolist():
            mine = owner == i
            np.add.at(self._counts[polygons[i]], (label[mine], mapped[mine]), 1)

    def certainty(self) -> Certainty:
        """Return what the polygons so far allow to say."""
        size = len(self._names)
        counts = np.array(list(self._counts.values())).reshape(-1, size, size)
        own = (counts.sum(axis=2) > 0).sum(axis=0)  # polygons of each class
        pixels = counts.sum(axis=(0, 2))
        without = {
            name: reason
            for name, n, p in zip(self._names, pixels.tolist(), own.tolist(), strict=True)
            if (reason := reason_for_no_figure(n, p)) is not None
        }
        polygons = dict(zip(self._names, own.tolist(), strict=True))
        classes = int((own > 0).sum())
        free = len(counts) - classes
        single = [name for name, p in polygons.items() if p == 1]
        if free < FEWEST_FREE or single:
            held = f"only one polygon of {', '.join(single)}" if single else None
            reason = held or f"{len(counts)} polygons of {classes} classes are too few"
            return Certainty(polygons, without, reason=f"{reason}: no interval")
        return Certainty(polygons, without, interval_95=_intervals(counts, free))


def certainty_of_raster(pixels: Mapping[str, int]) -> Certainty:
    """Return what labels that are no polygons allow to say.

    Args:
        pixels: Labelled pixels by class.
    """
    without = {
        name: reason
        for name, count in pixels.items()
        if (reason := reason_for_no_figure(count, None)) is not None
    }
    why = "labels are a raster, whose neighbouring pixels resemble each other: no interval"
    return Certainty(None, without, reason=why)


def reason_for_no_figure(pixels: int, polygons: int | None) -> str | None:
    """Return why a class gets no figure; none where it gets one.

    Args:
        pixels: Its pixels in the reference.
        polygons: Its polygons there; none where labels are no polygons.
    """
    if pixels >= FEWEST_PIXELS and (polygons is None or polygons >= FEWEST_POLYGONS):
        return None
    if not pixels:
        return "no pixels: no figure"
    said = f"{pixels:,} pixel{'s' if pixels > 1 else ''}"
    if polygons is not None:
        said += f" of {'one polygon' if polygons == 1 else f'{polygons} polygons'}"
    return f"{said}: no figure"


def _intervals(counts: np.ndarray, free: int) -> dict[str, tuple[float, float]]:
    """Return intervals from polygons that are drawn anew, class by class.

    Of n polygons of a class, n - 1 are drawn, which makes the variance unbiased; the quantile is
    Student's, as befits few polygons.

    Args:
        counts: Pixels of each polygon by reference and mapped class, (P, K, K).
        free: Polygons beyond one per class.

    Source: Rao and Wu 1988, Resampling inference with complex survey data.
    """
    from scipy.stats import t

    rng = np.random.default_rng(0)
    label = counts.sum(axis=2).argmax(axis=1)
    totals = np.zeros((_DRAWS, *counts.shape[1:]))
    for k in np.unique(label):
        own = np.flatnonzero(label == k)
        drawn = rng.multinomial(len(own) - 1, np.full(len(own), 1 / len(own)), size=_DRAWS)
        scaled = drawn * (len(own) / (len(own) - 1))
        totals += np.tensordot(scaled, counts[own], axes=1)
    reach = float(t.ppf(0.975, free))
    estimates, samples = _scores(counts.sum(axis=0)[None].astype(float)), _scores(totals)
    return {
        name: (
            max(0.0, float(estimates[name][0] - reach * samples[name].std())),
            min(1.0, float(estimates[name][0] + reach * samples[name].std())),
        )
        for name in samples
    }


def _scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, mean IoU and mean F1 of confusion matrices (B, K, K), each (B,)."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    both = confusion.sum(axis=1) + confusion.sum(axis=2)
    known = both > 0
    f1 = np.where(known, 2 * right / np.maximum(both, 1e-9), np.nan)
    iou = np.where(known, right / np.maximum(both - right, 1e-9), np.nan)
    return {
        "accuracy": right.sum(axis=1) / confusion.sum(axis=(1, 2)),
        "miou": np.nanmean(iou, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
    }
