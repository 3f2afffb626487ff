"""What trials conclude: a lead that is clear decides, and a tie leaves the scale where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsmeta.config.meta import MetaSettings
from rsmeta.training.meta import build_strategy
from rsmeta.training.meta.trials import best_scale, scales_to_try, steps_of_a_trial

BATCHES = [1.2, 0.4, 0.9, 1.5, 0.7]


def moved(change: float, spread: float = 0.0) -> list[float]:
    """Return the losses of the batches, changed by so much on average."""
    return [loss + change + spread * (-1) ** number for number, loss in enumerate(BATCHES)]


def test_a_lead_that_all_batches_share_decides_however_much_batches_differ() -> None:
    assert best_scale({0.1: moved(0.02), 1: BATCHES, 10: moved(-0.02)}, gate=2) == 10


def test_a_lead_of_less_than_a_hundredth_is_a_tie_however_sure_it_is() -> None:
    smaller = [loss * 0.997 for loss in BATCHES]
    assert best_scale({0.1: smaller, 1: BATCHES, 10: moved(0.02)}, gate=2) == 1


@given(lead=st.floats(0, 0.05), far=st.sampled_from([0.01, 0.1, 3.0, 30.0]))
def test_a_tie_keeps_the_scale_nearest_to_1(lead: float, far: float) -> None:
    assert best_scale({far: moved(-lead, spread=0.1), 1.0: BATCHES}, gate=2) == 1


def test_without_a_gate_the_lowest_mean_decides() -> None:
    losses = {0.1: moved(-0.08, spread=0.1), 1: BATCHES}
    assert [best_scale(losses, gate=gate) for gate in (0, 2)] == [0.1, 1]


def test_equal_losses_keep_the_scale_nearest_to_1() -> None:
    assert best_scale({10: BATCHES, 3: BATCHES, 0.1: BATCHES}, gate=0) == 3


def test_where_labels_say_nothing_scales_stay() -> None:
    """Losses that differ by chance alone, as those of trials on shuffled labels do."""
    rng = np.random.default_rng(0)
    chosen = [
        best_scale({scale: rng.normal(2, 0.1, 15).tolist() for scale in (0.1, 1, 10)}, gate=2)
        for _ in range(200)
    ]
    assert chosen.count(1) > 180


@given(st.sampled_from([math.nan, math.inf]))
def test_a_scale_that_ends_in_no_number_is_never_chosen(end: float) -> None:
    bad = [*BATCHES[:-1], end]
    assert best_scale({1: bad, 10: BATCHES, 0.1: moved(0.1)}, gate=2) == 10
    assert best_scale({1: [math.nan] * 5, 10: [math.inf] * 5}, gate=2) is None


def test_a_scale_that_diverges_is_left_however_much_its_losses_differ() -> None:
    assert best_scale({1: [1.3, 4.0, 30.0, 500.0, 1e30], 0.1: BATCHES}, gate=2) == 0.1


@pytest.mark.parametrize(
    ("share", "total", "trials", "steps"),
    [(0.1, 150, 3, 5), (0.1, 149, 3, 0), (0.1, 300, 3, 10), (0.1, 10_000, 3, 333),
     (0, 10_000, 3, 0), (0.15, 300, 0, 0), (0.3, 10_000, 2, 1500)],
)  # fmt: skip
def test_trials_take_their_share_of_a_run(
    share: float, total: int, trials: int, steps: int
) -> None:
    meta = MetaSettings(strategy="first_order", trial_share=share)
    options = build_strategy(meta, [torch.nn.Parameter(torch.zeros(()))]).options
    assert steps_of_a_trial(options, total, trials) == steps


@pytest.mark.parametrize(
    ("given", "tried"),
    [({}, [0.1, 1, 10]), ({"trial_scales": (2, 2)}, []), ({"trial_scales": ()}, []),
     ({"parametrisation": "sigmoid"}, [0.1, 1]),
     ({"parametrisation": "sigmoid", "maximum": 0.5}, [])],
)  # fmt: skip
def test_scales_are_tried_that_the_form_allows_and_that_differ(
    given: dict[str, object], tried: list[float]
) -> None:
    meta = MetaSettings(strategy="first_order", **given)  # type: ignore[arg-type]
    options = build_strategy(meta, [torch.nn.Parameter(torch.zeros(()))]).options
    assert scales_to_try(options, meta) == tried
