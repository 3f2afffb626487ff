"""Named streams of random numbers: all follow from one seed, and no two share their numbers.

A stream is a spawn key of NumPy's ``SeedSequence``, (number of the name, step), which has the same
length everywhere: lists such as ``[seed, 1]`` and ``[seed, 1, 0]`` would be one stream.

Source: NumPy, "Parallel random number generation", SeedSequence spawning.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

#: What random numbers are needed for. New names go to the end: a name's place makes its numbers.
StreamName = Literal[
    "split",
    "subset",
    "held_out",
    "epoch",
    "meta_step",
    "unlabelled",
    "statistics",
    "pixel_sizes",
    "folds",
    "labelled_pixels",
    "auto_folds",
    "auto_errors",
]

_NUMBERS: dict[StreamName, int] = {name: i for i, name in enumerate(get_args(StreamName))}


def random_stream(name: StreamName, seed: int, step: int = 0) -> np.random.Generator:
    """Return the generator of a stream.

    Args:
        name: What the numbers are for.
        seed: Seed of the run.
        step: Number of the epoch or meta step, where each has its own numbers.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_NUMBERS[name], step))
    return np.random.default_rng(sequence)
