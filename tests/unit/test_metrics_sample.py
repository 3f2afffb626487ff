"""What a stratified sample tells of a map, against the published example."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rsmeta.metrics import SampleEstimates, estimates_from_sample

NAMES = ("deforestation", "forest gain", "stable forest", "stable non-forest")

#: Olofsson et al. 2014, table 8: mapped class (rows) by reference class; pixels of 30 m per class.
SAMPLES = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])


@pytest.fixture(scope="module")
def published() -> SampleEstimates:
    return estimates_from_sample(SAMPLES.T, PIXELS * 900.0, NAMES)


def half(estimate: object) -> float:
    low, high = estimate.interval_95  # type: ignore[attr-defined]
    return float(high - low) / 2


def test_areas_are_those_of_the_paper(published: SampleEstimates) -> None:
    hectares = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    for one, (area, reach) in zip(published.classes, hectares, strict=True):
        assert one.area_m2.value / 1e4 == pytest.approx(area, abs=0.6)
        assert half(one.area_m2) / 1e4 == pytest.approx(reach, abs=1.0)
    assert [one.mapped_area_m2 / 1e4 for one in published.classes] == [18e3, 13.5e3, 288e3, 580.5e3]
    total = sum(one.area_m2.value for one in published.classes)
    assert total == pytest.approx(PIXELS.sum() * 900.0)


def test_accuracies_are_those_of_the_paper(published: SampleEstimates) -> None:
    assert round(published.overall_accuracy.value, 2) == 0.95
    assert round(half(published.overall_accuracy), 2) == 0.02
    users = [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    for one, expected in zip(published.classes, users, strict=True):
        estimate = one.users_accuracy
        assert estimate is not None
        assert (round(estimate.value, 2), round(half(estimate), 2)) == expected
    deforestation, gain, forest, other = (one.producers_accuracy for one in published.classes)
    assert deforestation is not None
    assert (round(deforestation.value, 2), round(half(deforestation), 2)) == (0.75, 0.21)
    assert gain is not None
    assert round(gain.value, 2) == 0.85
    assert forest is not None
    assert (round(forest.value, 2), round(half(forest), 2)) == (0.93, 0.03)
    assert other is not None
    assert round(other.value, 2) == 0.96


def test_standard_errors_are_those_of_repeated_samples() -> None:
    """The formulas against what happens when the same ground is sampled again and again."""
    rng = np.random.default_rng(0)
    truth = np.array([[0.8, 0.2], [0.05, 0.95]])  # reference classes by stratum
    areas, sizes = (300.0, 700.0), (60, 120)
    found = [
        estimates_from_sample(
            np.array([rng.multinomial(n, p) for n, p in zip(sizes, truth, strict=True)]).T,
            areas, ("a", "b"),
        )
        for _ in range(1500)
    ]  # fmt: skip
    one = [f.classes[0] for f in found]
    for estimates in (
        [f.overall_accuracy for f in found],
        [c.area_m2 for c in one],
        [c.users_accuracy for c in one],
        [c.producers_accuracy for c in one],
    ):
        spread = np.std([e.value for e in estimates if e is not None])
        said = np.mean([e.standard_error for e in estimates if e is not None])
        assert said == pytest.approx(spread, rel=0.06)
    assert np.mean([c.area_m2.value for c in one]) == pytest.approx(275.0, rel=0.01)


def test_f1_and_iou_are_those_of_areas(published: SampleEstimates) -> None:
    shares = np.array(published.shares)  # reference by map
    for k, one in enumerate(published.classes):
        either = shares[k].sum() + shares[:, k].sum()
        assert one.f1 == pytest.approx(2 * shares[k, k] / either)
        assert one.iou == pytest.approx(shares[k, k] / (either - shares[k, k]))
    assert shares.sum() == pytest.approx(1)


def test_a_class_without_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="where the map has b"):
        estimates_from_sample(np.array([[5, 0], [1, 0]]), (10.0, 10.0), ("a", "b"))


def test_a_single_sample_has_no_error() -> None:
    result = estimates_from_sample(np.array([[5, 0], [1, 1]]), (10.0, 10.0), ("a", "b"))
    one, other = result.classes
    assert other.users_accuracy is not None
    assert other.users_accuracy.standard_error is None
    assert result.overall_accuracy.standard_error is None
    assert one.users_accuracy is not None
    assert one.users_accuracy.standard_error is not None
    json.dumps(result.as_dict(), allow_nan=False)


def test_a_class_that_is_not_mapped_has_an_area_and_no_users_accuracy() -> None:
    result = estimates_from_sample(
        np.array([[50, 0, 0], [0, 40, 0], [0, 10, 0]]), (10.0, 30.0, 0.0), ("a", "b", "c")
    )
    missed = result.classes[2]
    assert missed.users_accuracy is None
    assert missed.area_m2.value == pytest.approx(6.0)
    assert missed.producers_accuracy is not None
    assert missed.producers_accuracy.value == 0
    json.dumps(result.as_dict(), allow_nan=False)
