"""Estimates from a stratified sample of a map: accuracy and areas, with standard errors.

The map's classes are the strata. Shares of the sample say nothing by themselves, because a rare
class is sampled more densely than a common one; weighted by the area of its stratum each sample
counts for the area that it stands for.

Source of all estimators: Olofsson et al. 2014, "Good practices for estimating area and assessing
accuracy of land change", Remote Sensing of Environment 148, section 4; equations are named below.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rsmeta.metrics.confusion import mean_of_known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rsmeta.metrics.confusion import Confusion

    _Numbers = NDArray[np.float64]

#: Standard errors on each side of an estimate that hold 95 % of a normal distribution.
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A number that a sample estimates.

    Args:
        value: The estimate.
        standard_error: Of the estimate; none where a stratum holds a single sample.
    """

    value: float
    standard_error: float | None

    @property
    def interval_95(self) -> tuple[float, float] | None:
        """Lower and upper end of the 95 % confidence interval, which may pass 0 or 1."""
        if self.standard_error is None:
            return None
        reach = Z_95 * self.standard_error
        return self.value - reach, self.value + reach

    def as_dict(self) -> dict[str, Any]:
        """Return value, standard error and interval as JSON can hold them."""
        interval = self.interval_95
        return {**asdict(self), "interval_95": None if interval is None else list(interval)}

    def times(self, factor: float) -> Estimate:
        """Return the estimate in another unit."""
        error = self.standard_error
        return Estimate(self.value * factor, None if error is None else error * factor)


@dataclass(frozen=True)
class ClassEstimates:
    """Estimates for one class; none where the sample says nothing about it.

    Args:
        name: Name of the class.
        area_m2: Its area on the ground, in m²; a share of 1 where the map has no CRS.
        mapped_area_m2: Its area in the map, in the same unit: counted, not estimated.
        users_accuracy: Share of its mapped area that is of it.
        producers_accuracy: Share of its area on the ground that is mapped as it.
        f1: Harmonic mean of the two.
        iou: Area that is both over area that is either.
        samples: Samples in its stratum, that is, mapped as it.
    """

    name: str
    area_m2: Estimate
    mapped_area_m2: float
    users_accuracy: Estimate | None
    producers_accuracy: Estimate | None
    f1: float | None
    iou: float | None
    samples: int


@dataclass(frozen=True)
class SampleEstimates:
    """Estimates from a stratified sample of a map.

    Args:
        overall_accuracy: Share of the mapped area that is right.
        kappa: Agreement beyond chance, of areas; none where chance alone agrees fully.
        miou: Mean IoU over classes that occur in map or sample.
        macro_f1: Mean F1 over the same classes.
        classes: By class.
        shares: Shares of the area by reference class (rows) and mapped class (columns), (K, K).
    """

    overall_accuracy: Estimate
    kappa: float | None
    miou: float | None
    macro_f1: float | None
    classes: tuple[ClassEstimates, ...]
    shares: tuple[tuple[float, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; classes by name."""
        return {
            "overall_accuracy": self.overall_accuracy.as_dict(),
            "kappa": self.kappa,
            "miou": self.miou,
            "macro_f1": self.macro_f1,
            "classes": {one.name: _class_dict(one) for one in self.classes},
            "shares": [list(row) for row in self.shares],
        }


def _class_dict(one: ClassEstimates) -> dict[str, Any]:
    values = {key: value for key, value in vars(one).items() if key != "name"}
    return {k: v.as_dict() if isinstance(v, Estimate) else v for k, v in values.items()}


def estimates_from_sample(
    confusion: Confusion, mapped_areas: Sequence[float], class_names: Sequence[str]
) -> SampleEstimates:
    """Return the estimates from a stratified random sample; the strata are the map's classes.

    Args:
        confusion: Samples by reference class (rows) and mapped class (columns), (K, K).
        mapped_areas: Area of each class in the map, (K,), m² or any other unit.
        class_names: Names of the K classes.

    Raises:
        ValueError: A class that is in the map has no sample, so that nothing is known of it.
    """
    counts = np.asarray(confusion, dtype=np.float64).T  # strata are rows, as in the source
    areas = np.asarray(mapped_areas, dtype=np.float64)
    sizes = counts.sum(axis=1)
    unseen = [name for name, a, n in zip(class_names, areas, sizes, strict=True) if a and not n]
    if unseen or not areas.any():
        raise ValueError(f"no sample lies where the map has {', '.join(unseen) or 'a class'}")
    total = float(areas.sum())
    sample = _Sample(areas / total, counts)
    shares = sample.shares
    classes = tuple(
        _class_estimates(name, k, sample, mapped=float(areas[k]), total=total)
        for k, name in enumerate(class_names)
    )
    right = np.diag(shares)
    by_chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    agreement = float(right.sum())
    return SampleEstimates(
        overall_accuracy=Estimate(
            agreement, _root(float(sample.weights**2 @ sample.user_variances))
        ),
        kappa=None if np.isclose(by_chance, 1) else (agreement - by_chance) / (1 - by_chance),
        miou=mean_of_known(one.iou for one in classes),
        macro_f1=mean_of_known(one.f1 for one in classes),
        classes=classes,
        shares=tuple(tuple(map(float, row)) for row in shares.T),
    )


class _Sample:
    """A sample by stratum (rows) and reference class (columns), with what all estimates need.

    Strata without area weigh nothing, and neither do samples that lie there.
    """

    def __init__(self, weights: _Numbers, counts: _Numbers) -> None:
        self.weights = weights
        self.counts = np.where(weights[:, None] > 0, counts, 0.0)
        self.sizes = self.counts.sum(axis=1)
        self.within = np.divide(
            self.counts, self.sizes[:, None], out=np.zeros_like(counts), where=self.counts > 0
        )
        # equation 4; NaN where a single sample leaves the spread unknown
        spread = self.within * (1 - self.within)
        degrees = np.where(self.sizes == 1, np.nan, np.maximum(self.sizes - 1, 1))
        self.variances = np.where(weights[:, None] > 0, spread / degrees[:, None], 0.0)
        self.shares: _Numbers = weights[:, None] * self.within

    @property
    def user_variances(self) -> _Numbers:
        """Variance of the user's accuracy of each class, (K,); equation 6."""
        variances: _Numbers = np.diag(self.variances)
        return variances

    def producers_accuracy(self, k: int) -> Estimate | None:
        """Return the producer's accuracy of a class; equations 3 and 7."""
        area = self.shares[:, k].sum()
        if not area:
            return None
        value = float(self.shares[k, k] / area)
        others = np.arange(len(self.weights)) != k
        missed = self.weights[others] ** 2 @ self.variances[others, k]
        own = self.weights[k] ** 2 * (1 - value) ** 2 * self.variances[k, k]
        return Estimate(value, _root((own + value**2 * missed) / area**2))


def _class_estimates(
    name: str, k: int, sample: _Sample, *, mapped: float, total: float
) -> ClassEstimates:
    shares = sample.shares
    hit, in_map, on_ground = shares[k, k], shares[k].sum(), shares[:, k].sum()
    # equations 9 to 11: the share of the class, and its standard error
    share = Estimate(float(on_ground), _root(float(sample.weights**2 @ sample.variances[:, k])))
    either = float(in_map + on_ground)
    return ClassEstimates(
        name=name,
        area_m2=share.times(total),
        mapped_area_m2=mapped,
        users_accuracy=(
            Estimate(float(sample.within[k, k]), _root(sample.variances[k, k])) if in_map else None
        ),
        producers_accuracy=sample.producers_accuracy(k),
        f1=2 * float(hit) / either if either else None,
        iou=float(hit) / (either - float(hit)) if either else None,
        samples=int(sample.sizes[k]),
    )


def _root(variance: float) -> float | None:
    return float(np.sqrt(variance)) if np.isfinite(variance) else None
