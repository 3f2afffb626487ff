"""Random streams: reproducible, and no two of them share their numbers."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rsmeta.data.streams import StreamName, random_stream

NAMES = get_args(StreamName)
KEYS = st.tuples(st.sampled_from(NAMES), st.integers(0, 2**40), st.integers(0, 2**33))


def test_no_two_streams_share_numbers_whatever_their_step_and_seed() -> None:
    found = [
        random_stream(name, seed, step).integers(0, 2**63, 8).tolist()
        for name, seed, step in itertools.product(NAMES, (0, 1, 2**32, 2**32 + 1), range(4))
    ]
    numbers = list(itertools.chain.from_iterable(found))
    assert len(set(numbers)) == len(numbers)


@given(one=KEYS, other=KEYS)
@settings(max_examples=200, deadline=None)
def test_streams_are_equal_only_for_the_same_key(
    one: tuple[StreamName, int, int], other: tuple[StreamName, int, int]
) -> None:
    first, second = (random_stream(*key).random(4).tolist() for key in (one, other))
    assert (first == second) == (one == other)


def test_streams_of_one_seed_are_not_correlated() -> None:
    numbers = [random_stream(name, 0, step).random(2000) for name in NAMES for step in range(3)]
    correlation = np.corrcoef(numbers) - np.eye(len(numbers))
    assert np.abs(correlation).max() < 0.12, "five standard errors of independent numbers"
