"""How ``model: auto`` draws pixels, deals groups into folds and chooses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from rsmeta.data.labelled_places import Places
from rsmeta.training.auto.candidates import RULE, Rule
from rsmeta.training.auto.sample import Sample, divide_groups
from rsmeta.training.auto.scores import choose, group_confusions, macro_f1, resampled_f1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(2, 6), st.integers(0, 99))
def test_polygons_of_a_class_are_spread_evenly_and_single_ones_stay(
    classes: list[int], folds: int, seed: int
) -> None:
    counts = np.eye(5, dtype=np.int64)[classes] * 7
    fold = divide_groups(counts, folds, np.random.default_rng(seed))
    for number in range(5):
        mine = fold[np.array(classes) == number]
        if len(mine) == 1:
            assert mine[0] == -1
        elif len(mine):
            dealt = np.bincount(mine, minlength=folds)
            assert dealt.max() - dealt.min() <= 1
            for one in range(folds):
                assert (mine != one).any()  # something is left to learn the class from


def test_blocks_of_several_classes_count_for_the_rarest() -> None:
    counts = np.array([[9, 0], [9, 0], [9, 1], [9, 1]])
    for seed in range(10):
        fold = divide_groups(counts, 2, np.random.default_rng(seed))
        assert set(fold[2:]) == {0, 1}


def sample(label: np.ndarray, group: np.ndarray, weight: np.ndarray | None = None) -> Sample:
    nowhere = np.zeros_like(label)
    weights = np.ones(len(label)) if weight is None else weight
    return Sample([], Places(nowhere, nowhere, nowhere, label, group), weights, 3)


def test_scores_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    label, weight = draw.integers(0, 3, 200), draw.uniform(1, 9, 200)
    shares = draw.random((1, 200, 3))
    confusions = group_confusions(shares, sample(label, np.arange(200) // 10, weight))
    expected = f1_score(label, shares[0].argmax(1), average="macro", sample_weight=weight)
    assert macro_f1(confusions.sum(0)) == pytest.approx(expected)


def test_errors_shrink_with_the_number_of_polygons_not_of_pixels() -> None:
    draw = np.random.default_rng(0)

    def error(groups: int, pixels: int) -> float:
        good = np.repeat(draw.random(groups) < 0.7, pixels)
        label = np.repeat(np.arange(groups) % 3, pixels)
        said = np.where(good, label, (label + 1) % 3)
        confusions = group_confusions(
            np.eye(3)[said][None], sample(label, np.repeat(np.arange(groups), pixels))
        )
        drawn = resampled_f1(confusions[None], RULE, np.random.default_rng(1))
        return float(drawn.std())

    assert error(30, 100) == pytest.approx(error(30, 4), rel=0.5)
    assert error(480, 4) < 0.5 * error(30, 4)


@pytest.mark.parametrize(
    ("scores", "prior", "chosen"),
    [
        ((0.80, 0.81, 0.70), 0, 0),  # not clearly better
        ((0.80, 0.90, 0.70), 0, 1),
        ((0.80, 0.805, 0.70), None, 0),  # the simpler one of two that are as good
        ((0.80, 0.90, 0.70), None, 1),
    ],
)
def test_the_usual_choice_stays_unless_another_is_clearly_better(
    scores: tuple[float, ...], prior: int | None, chosen: int
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (100, 3))
    rule = Rule(standard_errors=1.0, gain=0.0)
    found = choose(
        np.array(scores), np.array(scores) + noise, (0, 1, 2), prior, rule, groups=rule.groups
    )
    assert found[0] == chosen


def test_few_polygons_are_too_few_to_depart_from_the_usual_choice() -> None:
    scores, noise = np.array([0.6, 0.9]), np.random.default_rng(0).normal(0, 0.01, (100, 2))
    chosen, why = choose(scores, scores + noise, (0, 1), 0, RULE, groups=3.5)
    assert chosen == 0
    assert "3.5 polygons or blocks per class are too few" in why
