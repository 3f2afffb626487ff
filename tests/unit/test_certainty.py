"""Figures and intervals are given where polygons allow them, and the reason where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsmeta.metrics.certainty import (
    FEWEST_PIXELS,
    PolygonCounts,
    certainty_of_raster,
    reason_for_no_figure,
)


@pytest.mark.parametrize(
    ("pixels", "polygons", "reason"),
    [
        (6, 1, "6 pixels of one polygon: no figure"),
        (1, 1, "1 pixel of one polygon: no figure"),
        (5_000, 1, "5,000 pixels of one polygon: no figure"),
        (9, 3, "9 pixels of 3 polygons: no figure"),
        (10, 2, None),
        (0, 0, "no pixels: no figure"),
        (9, None, "9 pixels: no figure"),
        (10, None, None),
    ],
)
def test_a_class_has_figures_from_two_polygons_and_ten_pixels(
    pixels: int, polygons: int | None, reason: str | None
) -> None:
    assert reason_for_no_figure(pixels, polygons) == reason


def drawn(polygons: tuple[int, ...], size: int, right: float, seed: int) -> PolygonCounts:
    """Polygons whose pixels are right or wrong together: each hits at a rate of its own."""
    rng = np.random.default_rng(seed)
    counts = PolygonCounts([f"class {k}" for k in range(len(polygons))])
    for k, many in enumerate(polygons):
        for i in range(many):
            rate = rng.beta(4 * right, 4 * (1 - right))
            hit = rng.random(size) < rate
            mapped = np.where(hit, k, (k + 1) % len(polygons))
            counts.update([(k, i)], np.zeros(size, int), mapped, np.full(size, k))
    return counts


@settings(max_examples=40)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=5), st.integers(1, 30), st.integers(0, 99))
def test_there_is_an_interval_or_a_reason(polygons: list[int], size: int, seed: int) -> None:
    found = drawn(tuple(polygons), size, 0.8, seed).certainty()
    assert list(found.polygons.values()) == polygons
    for k, many in enumerate(polygons):
        short = many < 2 or many * size < FEWEST_PIXELS
        assert (f"class {k}" in found.without_figure) == short
    known = [many for many in polygons if many]
    enough = sum(known) - len(known) >= 5 and 1 not in known
    assert (found.reason is None) == enough == bool(found.interval_95)
    for low, high in found.interval_95.values():
        assert 0 <= low <= high <= 1
    said = found.as_dict()
    assert (said["interval_95"] is None) == ("interval_reason" in said)


@pytest.mark.parametrize("polygons", [(4, 4), (10, 10), (30, 30)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(polygons: tuple[int, int]) -> None:
    """Were pixels the sample, intervals of ten polygons would hold it in half of the cases."""
    right = 0.8
    hits = []
    for seed in range(120):
        low, high = drawn(polygons, 40, right, seed).certainty().interval_95["accuracy"]
        hits.append(low <= right <= high)
    assert np.mean(hits) >= 0.87


def test_more_polygons_narrow_the_interval_and_more_pixels_do_not() -> None:
    def width(many: int, size: int) -> float:
        low, high = drawn((many, many), size, 0.8, 1).certainty().interval_95["macro_f1"]
        return high - low

    assert width(40, 40) < 0.7 * width(8, 40)
    assert width(8, 400) > 0.7 * width(8, 40)


def test_a_raster_has_no_polygons_to_draw() -> None:
    found = certainty_of_raster({"water": 6, "land": 4000})
    assert found.without_figure == {"water": "6 pixels: no figure"}
    assert "labels are a raster" in found.as_dict()["interval_reason"]
